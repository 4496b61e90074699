//! Base64 as protobuf's JSON and Kubernetes' Secrets have it.

/// The bytes that `text` stands for, in the standard or URL-safe alphabet, with
/// or without padding; blanks are skipped. `None` if it is no base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    let mut padding = 0;
    for b in text.bytes().filter(|b| !b.is_ascii_whitespace()) {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // One left-over character cannot make a byte.
    (count < 6 && padding <= 2).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_with_and_without_padding() {
        let check = |text: &str, expected: Option<&[u8]>| assert_eq!(decode(text).as_deref(), expected, "{text}");
        check("", Some(b""));
        check("aGVsbG8=", Some(b"hello"));
        check("aGVs\nbG8", Some(b"hello"));
        check("-_-_", Some(&[0xfb, 0xff, 0xbf]));
        check("a", None);
        check("aGVsbG8=x", None);
        check("aG Vs!", None);
    }
}
