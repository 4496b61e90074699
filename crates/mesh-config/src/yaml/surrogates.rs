//! JSON's escapes for characters beyond 16 bits, which YAML does not have.

/// `text` with every escaped surrogate pair (`\ud83d\ude00`) as YAML's escape of
/// one character (`\U0001f600`); `None` if there is no pair. Only meant for text
/// that no YAML parser takes as it is.
pub(super) fn joined(text: &str) -> Option<String> {
    let mut rewritten = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        rewritten.push_str(before);
        rest = match pair(escape) {
            Some(character) => {
                found = true;
                rewritten.push_str(&format!("\\U{:08x}", u32::from(character)));
                &escape[PAIR_BYTES..]
            }
            None => {
                // An escaped backslash begins no other escape.
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                rewritten.push_str(&escape[..length]);
                &escape[length..]
            }
        };
    }
    rewritten.push_str(rest);
    found.then_some(rewritten)
}

/// Bytes of `\ud83d\ude00`.
const PAIR_BYTES: usize = 12;

/// The character that an escaped surrogate pair at the start of `text` means.
fn pair(text: &str) -> Option<char> {
    let half = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    char::decode_utf16([half(0)?, half(6)?]).next()?.ok().filter(|c| c.len_utf16() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_joined_and_nothing_else_changes() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(joined(text).as_deref(), expected, "{text}");
        check(r#"{"a":"\ud83d\ude00 \u00e9 é"}"#, Some(r#"{"a":"\U0001f600 \u00e9 é"}"#));
        check(r"\\ud83d\ude00", None);
        check(r"\ud83d", None);
        check(r"\ud83d\u0041", None);
        check(r"\u+83d\ude00", None);
        check("\\", None);
        check("\\é", None);
    }
}
