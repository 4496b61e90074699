//! Reads server name and ALPN out of a TLS client hello, without a TLS
//! library: a few nested length-prefixed lists (RFC 8446, 4.1.2).
//!
//! Invariant: never looks past the bytes it is given and never panics on any.

/// What a client hello says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// In lower case.
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) alpn: Vec<Box<str>>,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Not TLS.
    Other,
    /// TLS so far; more bytes are needed.
    Partial,
    /// TLS.
    Hello(ClientHello),
}

/// Looks at the first `bytes` of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Found {
    let mut hello = Vec::new();
    let mut rest = bytes;
    loop {
        // Record: type 22, version 3.x, length, then handshake bytes.
        match rest {
            [22, 3, _, high, low, body @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 || length > RECORD_BYTES_MAX {
                    return Found::Other;
                }
                let part = &body[..body.len().min(length)];
                hello.extend_from_slice(part);
                if let Some(found) = handshake(&hello) {
                    return found;
                }
                if part.len() < length {
                    return Found::Partial;
                }
                rest = &body[length..];
            }
            [] | [22] | [22, 3] | [22, 3, _] | [22, 3, _, _] => {
                return if bytes.len() > HELLO_BYTES_MAX { Found::Other } else { Found::Partial };
            }
            _ => return Found::Other,
        }
    }
}

/// `None` if bytes are missing.
fn handshake(bytes: &[u8]) -> Option<Found> {
    let [kind, a, b, c, body @ ..] = bytes else {
        return bytes.first().filter(|k| **k != CLIENT_HELLO).map(|_| Found::Other);
    };
    let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
    if *kind != CLIENT_HELLO || length > HELLO_BYTES_MAX {
        return Some(Found::Other);
    }
    let body = body.get(..length)?;
    // A hello that is complete but malformed still is TLS: it has no names.
    Some(Found::Hello(fields(body).unwrap_or_default()))
}

fn fields(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    reader.list8()?;
    reader.list16()?;
    reader.list8()?;
    let mut hello = ClientHello::default();
    let Some(extensions) = reader.list16() else { return Some(hello) };
    let mut extensions = Reader(extensions);
    while let (Some(kind), Some(value)) = (extensions.u16(), extensions.list16()) {
        match kind {
            0 => hello.server_name = server_name(value),
            16 => hello.alpn = alpn(value).unwrap_or_default(),
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(value: &[u8]) -> Option<Box<str>> {
    let mut names = Reader(Reader(value).list16()?);
    while let Some(kind) = names.take(1) {
        let name = names.list16()?;
        if kind == [0] {
            let text = std::str::from_utf8(name).ok().filter(|t| t.is_ascii() && !t.is_empty())?;
            return Some(text.to_ascii_lowercase().into());
        }
    }
    None
}

fn alpn(value: &[u8]) -> Option<Vec<Box<str>>> {
    let mut protocols = Reader(Reader(value).list16()?);
    let mut found = Vec::new();
    while let Some(protocol) = protocols.list8() {
        found.push(String::from_utf8_lossy(protocol).into_owned().into());
    }
    Some(found)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<usize> {
        self.take(2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])))
    }

    fn list8(&mut self) -> Option<&'a [u8]> {
        let n = self.take(1)?[0];
        self.take(usize::from(n))
    }

    fn list16(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()?;
        self.take(n)
    }
}

const CLIENT_HELLO: u8 = 1;
/// A record may hold 2^14 bytes, and a little more in old versions.
const RECORD_BYTES_MAX: usize = 16 * 1024 + 2048;
/// Envoy's limit.
pub(crate) const HELLO_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str, alpn: &[&str]) -> Vec<u8> {
        let list16 = |inner: &[u8]| [&(inner.len() as u16).to_be_bytes()[..], inner].concat();
        let sni = list16(&[&[0][..], &list16(name.as_bytes())].concat());
        let protocols: Vec<u8> = alpn.iter().flat_map(|p| [&[p.len() as u8][..], p.as_bytes()].concat()).collect();
        let protocols = list16(&protocols);
        let extensions = [&[0, 0][..], &list16(&sni), &[0, 16], &list16(&protocols)].concat();
        let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &list16(&extensions)].concat();
        let message = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
        [&[22, 3, 1][..], &list16(&message)].concat()
    }

    #[test]
    fn names_are_read_and_every_prefix_asks_for_more() {
        let bytes = hello("Web.Example.COM", &["h2", "istio"]);
        let expected =
            ClientHello { server_name: Some("web.example.com".into()), alpn: vec!["h2".into(), "istio".into()] };
        assert_eq!(parse(&bytes), Found::Hello(expected));
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Found::Partial, "{end}");
        }
    }

    #[test]
    fn what_is_not_tls_is_said_at_the_first_byte_that_shows_it() {
        assert_eq!(parse(b"GET / HTTP/1.1"), Found::Other);
        assert_eq!(parse(&[22, 2]), Found::Other);
        assert_eq!(parse(&[22, 3, 1, 0, 5, 2]), Found::Other);
    }

    #[test]
    fn no_mutation_of_a_hello_makes_it_panic() {
        let bytes = hello("a.b", &["h2"]);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut mutated = bytes.clone();
                mutated[at] = value;
                parse(&mutated);
            }
        }
    }
}
