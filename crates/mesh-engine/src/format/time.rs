//! `%START_TIME%`: strftime with Envoy's additions for fractions of a second.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a time is written.
#[derive(Debug, Clone)]
pub(super) enum TimeFormat {
    /// `2026-01-31T12:00:00.000Z`, Envoy's default.
    Iso,
    /// Seconds since 1970 with this many digits after the point, without the point if `.1`.
    Pieces(Box<[Piece]>),
}

#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// Given to strftime.
    Strftime(Box<str>),
    /// `%s` followed by fractions, or `%f` and `%Nf`: whole seconds?, digits.
    Seconds,
    /// Digits of the fraction, 1 to 9.
    Fraction(usize),
}

impl TimeFormat {
    /// Reads what stands in the parentheses.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Ok(Self::Iso);
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                plain.push(c);
                continue;
            }
            let digit = chars.peek().and_then(|c| c.to_digit(10)).filter(|d| *d > 0);
            if digit.is_some() {
                chars.next();
            }
            let piece = match (chars.next(), digit) {
                (Some('s'), None) => Piece::Seconds,
                (Some('f'), digit) => Piece::Fraction(digit.map_or(9, |d| d as usize)),
                (Some('%'), None) => {
                    plain.push_str("%%");
                    continue;
                }
                (Some(other), None) => {
                    plain.extend(['%', other]);
                    continue;
                }
                _ => return Err("a strftime format; fractions are %f and %1f to %9f"),
            };
            if !plain.is_empty() {
                pieces.push(Piece::Strftime(checked(std::mem::take(&mut plain))?));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Strftime(checked(plain)?));
        }
        Ok(Self::Pieces(pieces.into()))
    }

    pub(super) fn write(&self, time: SystemTime, out: &mut String) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let Ok(seconds) = i64::try_from(since.as_secs()) else { return };
        let Ok(stamp) = jiff::Timestamp::new(seconds, since.subsec_nanos() as i32) else { return };
        // Writing to a string cannot fail, and formats were tried when they were read.
        match self {
            Self::Iso => {
                let _ = write!(out, "{}.{:03}Z", stamp.strftime("%Y-%m-%dT%H:%M:%S"), since.subsec_millis());
            }
            Self::Pieces(pieces) => {
                for piece in pieces {
                    let _ = match piece {
                        Piece::Strftime(format) => write!(out, "{}", stamp.strftime(&**format)),
                        Piece::Seconds => write!(out, "{seconds}"),
                        Piece::Fraction(digits) => {
                            let fraction = since.subsec_nanos() / 10u32.pow(9 - *digits as u32);
                            write!(out, "{fraction:0digits$}")
                        }
                    };
                }
            }
        }
    }
}

/// Formats once, so that an unknown conversion is found now.
fn checked(format: String) -> Result<Box<str>, &'static str> {
    let mut probe = String::new();
    match write!(probe, "{}", jiff::Timestamp::UNIX_EPOCH.strftime(&format)) {
        Ok(()) => Ok(format.into()),
        Err(_) => Err("conversions that strftime knows"),
    }
}
