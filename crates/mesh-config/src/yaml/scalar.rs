//! What a plain scalar means, by the rules of YAML 1.1 as Go's parser has them.
//!
//! Source: `resolve` in gopkg.in/yaml.v2, which sigs.k8s.io/yaml uses. Unlike
//! there, a lone `y` or `n` is text: it is far more often a name than a boolean.

use super::Value;

/// The value of a plain (unquoted, untagged) scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => float(f64::NAN, text),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => float(f64::INFINITY, text),
        "-.inf" | "-.Inf" | "-.INF" => float(f64::NEG_INFINITY, text),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
            number(text).unwrap_or_else(|| Value::Text(text.into()))
        }
        _ => Value::Text(text.into()),
    }
}

fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    // Rust's parsers take signs of their own; one is enough.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let whole = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => i64::from_str_radix(unsigned(&digits[2..])?, 16).ok(),
        [b'0', b'b' | b'B', ..] => i64::from_str_radix(unsigned(&digits[2..])?, 2).ok(),
        [b'0', b'o' | b'O', ..] => i64::from_str_radix(unsigned(&digits[2..])?, 8).ok(),
        [b'0', _, ..] if digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) => i64::from_str_radix(digits, 8).ok(),
        _ if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(Value::Int(if negative { -whole } else { whole }));
    }
    if is_float(digits) {
        let value: f64 = digits.parse().ok()?;
        return Some(float(if negative { -value } else { value }, text));
    }
    None
}

fn unsigned(digits: &str) -> Option<&str> {
    (!digits.starts_with(['+', '-'])).then_some(digits)
}

/// `[0-9]*` with a dot or an exponent: `1.5`, `.5`, `1e3`, `1.`.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_is_right = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    let mut dots = 0;
    let only_digits = mantissa.bytes().all(|b| {
        dots += u32::from(b == b'.');
        b.is_ascii_digit() || b == b'.'
    });
    exponent_is_right && only_digits && dots <= 1 && mantissa.bytes().any(|b| b.is_ascii_digit())
}

fn float(value: f64, text: &str) -> Value {
    Value::Float { value, text: text.into() }
}
