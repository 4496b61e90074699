//! What a kind's document looks like: the vocabulary that the tables of
//! `tables/` are written in.

/// A map with known fields.
pub(super) struct Shape {
    /// Its fields.
    pub(super) fields: &'static [Field],
    /// Groups of fields of which at most one may stand.
    pub(super) at_most_one: &'static [&'static [&'static str]],
}

/// A field of a [`Shape`].
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) is: Is,
    pub(super) required: bool,
    /// Whether `null` may stand for absence; Kubernetes refuses it elsewhere.
    pub(super) nullable: bool,
    /// What to write instead, if the field is deprecated.
    pub(super) deprecated: Option<&'static str>,
}

/// What a value is.
pub(super) enum Is {
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds.
    Int(i64, i64),
    /// Any number between two bounds.
    Number(f64, f64),
    /// Text with a least and a greatest length in bytes.
    Text(usize, usize),
    /// Text of a certain form.
    Form(Form),
    /// One of some words.
    Word(&'static [&'static str]),
    /// A duration of at least so many milliseconds.
    Duration(u64),
    /// A list of so many to so many items.
    List(&'static Is, usize, usize),
    /// A list whose items differ in one field.
    Keyed(&'static Is, usize, &'static str),
    /// A map from names that the author chooses, of at least and at most so many.
    Map(&'static Is, usize, usize),
    /// A map with known fields.
    Map1(&'static Shape),
    /// A map that is not looked into.
    Free,
}

/// Forms of text. What each of them is, `form.rs` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A DNS subdomain, or nothing.
    Group,
    /// The name of a Kubernetes kind.
    Kind,
    /// The name of an HTTP header: letters, digits, `-` and `_`.
    Header,
    /// 64 lower-case hexadecimal digits, or nothing.
    Sha256,
    /// Base64.
    Base64,
}

impl Shape {
    pub(super) const fn new(fields: &'static [Field]) -> Self {
        Self { fields, at_most_one: &[] }
    }

    /// With groups of fields of which at most one may stand.
    pub(super) const fn at_most_one(self, groups: &'static [&'static [&'static str]]) -> Self {
        Self { at_most_one: groups, ..self }
    }
}

impl Field {
    const fn new(name: &'static str, is: Is) -> Self {
        Self { name, is, required: false, nullable: false, deprecated: None }
    }
}

/// A field that may stand.
pub(super) const fn opt(name: &'static str, is: Is) -> Field {
    Field::new(name, is)
}

/// A field that must stand.
pub(super) const fn req(name: &'static str, is: Is) -> Field {
    Field { required: true, ..Field::new(name, is) }
}

/// A field that may stand, or be null.
pub(super) const fn nul(name: &'static str, is: Is) -> Field {
    Field { nullable: true, ..Field::new(name, is) }
}

/// A field that may stand and should not any more.
pub(super) const fn old(name: &'static str, is: Is, instead: &'static str) -> Field {
    Field { deprecated: Some(instead), ..Field::new(name, is) }
}

/// Bound of what has no bound of its own.
pub(super) const ANY: usize = usize::MAX;
/// Text of any length.
pub(super) const TEXT: Is = Is::Text(0, ANY);
/// Text of at least one byte.
pub(super) const FILLED: Is = Is::Text(1, ANY);
/// A list of texts.
pub(super) const TEXTS: Is = Is::List(&TEXT, 0, ANY);
/// A map of texts.
pub(super) const TEXT_MAP: Is = Is::Map(&TEXT, 0, ANY);
/// A whole number of 32 bits.
pub(super) const INT32: Is = Is::Int(i32::MIN as i64, i32::MAX as i64);
/// A whole number of 32 bits, 0 or more.
pub(super) const UINT32: Is = Is::Int(0, u32::MAX as i64);
/// A whole number, 0 or more.
pub(super) const UINT64: Is = Is::Int(0, i64::MAX);
/// A port.
pub(super) const PORT: Is = Is::Int(1, 65535);
/// A percentage with fractions.
pub(super) const PERCENT: Is = Is::Number(0.0, 100.0);
/// Any number.
pub(super) const NUMBER: Is = Is::Number(f64::MIN, f64::MAX);
/// A duration of at least a millisecond.
pub(super) const DURATION: Is = Is::Duration(1);
/// Any duration.
pub(super) const DURATION_OR_ZERO: Is = Is::Duration(0);
