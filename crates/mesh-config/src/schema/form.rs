//! The forms that texts have, and what to tell an author who missed one.

use super::shape::Form;

impl Form {
    /// What is expected, in words.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Form::Group => "an API group such as gateway.networking.k8s.io",
            Form::Kind => "the name of a kind, such as Gateway",
            Form::Header => "a header's name of letters, digits, - and _",
            Form::Sha256 => "64 lower-case hexadecimal digits",
            Form::Base64 => "base64",
        }
    }

    /// Whether `text` has the form.
    pub(super) fn holds(self, text: &str) -> bool {
        match self {
            Form::Group => text.is_empty() || (text.len() <= 253 && text.split('.').all(is_lower_label)),
            Form::Kind => (1..=63).contains(&text.len()) && is_kind(text),
            Form::Header => {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            }
            Form::Sha256 => {
                text.is_empty() || (text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
            }
            Form::Base64 => crate::base64::decode(text).is_some(),
        }
    }
}

/// Lower-case letters and digits, with `-` inside.
fn is_lower_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain) && bytes.iter().all(|b| plain(b) || *b == b'-')
}

fn is_kind(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes[0].is_ascii_alphabetic()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}
