//! Path normalisation. A path that is normal already is not copied.

use std::borrow::Cow;

/// `path_with_escaped_slashes_action`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum EscapedSlashes {
    #[default]
    Keep,
    Reject,
    Redirect,
    Forward,
}

/// What becomes of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Normalized<'a> {
    /// It goes on as this.
    Path(Cow<'a, str>),
    /// The client is told to come back with this.
    Redirect(String),
    /// It is refused.
    Reject,
}

/// Puts `path` (with its query, which stays as it is) in order: escaped
/// slashes, then `.` and `..` segments and backslashes, then runs of slashes.
pub(super) fn normalize(path: &str, escaped: EscapedSlashes, dots: bool, merge: bool) -> Normalized<'_> {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let (path, rest) = path.split_at(end);
    let mut changed: Cow<'_, str> = Cow::Borrowed(path);
    let mut redirect = false;
    if escaped != EscapedSlashes::Keep && has_escaped_slash(path) {
        match escaped {
            EscapedSlashes::Reject => return Normalized::Reject,
            EscapedSlashes::Redirect => redirect = true,
            EscapedSlashes::Keep | EscapedSlashes::Forward => {}
        }
        changed = Cow::Owned(unescape_slashes(path));
    }
    if dots && needs_canonical(&changed) {
        match canonical(&changed) {
            Some(normal) => changed = Cow::Owned(normal),
            None => return Normalized::Reject,
        }
    }
    if merge && changed.contains("//") {
        changed = Cow::Owned(merged(&changed));
    }
    match (redirect, changed) {
        (true, changed) => Normalized::Redirect(format!("{changed}{rest}")),
        (false, Cow::Borrowed(_)) if rest.is_empty() => Normalized::Path(Cow::Borrowed(path)),
        (false, changed) => Normalized::Path(Cow::Owned(format!("{changed}{rest}"))),
    }
}

/// Whether [`normalize`] would leave `path` as it is.
pub(super) fn is_normal(path: &str, escaped: EscapedSlashes, dots: bool, merge: bool) -> bool {
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    let changes = (escaped != EscapedSlashes::Keep && has_escaped_slash(path))
        || (dots && needs_canonical(path))
        || (merge && path.contains("//"));
    !changes
}

fn has_escaped_slash(path: &str) -> bool {
    path.as_bytes().windows(3).any(|w| is_escape(w, b"2f") || is_escape(w, b"5c"))
}

fn is_escape(window: &[u8], hex: &[u8; 2]) -> bool {
    window.len() >= 3 && window[0] == b'%' && window[1..3].eq_ignore_ascii_case(hex)
}

fn unescape_slashes(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let slash = match &bytes[at..] {
            window if is_escape(window, b"2f") => Some(b'/'),
            window if is_escape(window, b"5c") => Some(b'\\'),
            _ => None,
        };
        out.push(slash.unwrap_or(bytes[at]));
        at += if slash.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

fn needs_canonical(path: &str) -> bool {
    path.contains('\\') || path.contains("/.") || path.contains('%')
}

/// Resolves `.` and `..` (also as `%2e`), turns `\` into `/`, and writes plainly
/// what needs no escape; `None` for what cannot be normal: an escaped NUL, or a
/// path that is not absolute.
fn canonical(path: &str) -> Option<String> {
    let path = unescape_plain(&path.replace('\\', "/"));
    if !path.starts_with('/') || path.as_bytes().windows(3).any(|w| is_escape(w, b"00")) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path[1..].split('/').collect();
    let last = segments.len() - 1;
    for (i, segment) in segments.iter().enumerate() {
        let dots = match segment.len() {
            0..=6 => segment.replace("%2e", ".").replace("%2E", "."),
            _ => String::new(),
        };
        match dots.as_str() {
            "." | ".." => {
                if dots == ".." {
                    kept.pop();
                }
                // A trailing dot segment names a folder.
                if i == last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    Some(format!("/{}", kept.join("/")))
}

/// Replaces escapes of characters that mean the same without (RFC 3986, 2.3).
fn unescape_plain(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let plain = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok()).map(char::from);
        match plain.filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')) {
            Some(plain) => {
                out.push(plain);
                rest = &escape[3..];
            }
            None => {
                out.push('%');
                rest = &escape[1..];
            }
        }
    }
    out + rest
}

fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if !(c == '/' && out.ends_with('/')) {
            out.push(c);
        }
    }
    out
}
