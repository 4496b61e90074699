//! Operations that change which things stand in a list, and where.

use mesh_model::rules::envoy_filter::Operation;

/// What an operation is about.
pub(super) struct Edit<'a, T> {
    pub(super) operation: Operation,
    /// The thing that the patch names; `None` if it names none.
    pub(super) named: Option<&'a dyn Fn(&T) -> bool>,
    /// Where "at the end" is.
    pub(super) end: usize,
}

impl<T> Edit<'_, T> {
    /// Applies an operation that adds, replaces or removes. Returns whether the
    /// list is different.
    pub(super) fn apply(&self, list: &mut Vec<T>, value: impl FnOnce() -> Option<T>) -> bool {
        let found = self.named.map(|is_it| list.iter().position(is_it));
        let at = match (self.operation, found) {
            (Operation::Add, _) | (Operation::InsertAfter, None) => self.end,
            (Operation::InsertFirst, _) | (Operation::InsertBefore, None) => 0,
            (Operation::InsertBefore, Some(Some(at))) => at,
            (Operation::InsertAfter, Some(Some(at))) => at + 1,
            (Operation::Replace, Some(Some(at))) => {
                return value().map(|new| list[at] = new).is_some();
            }
            (Operation::Remove, Some(Some(_))) => {
                let before = list.len();
                list.retain(|item| !self.named.is_some_and(|is_it| is_it(item)));
                return list.len() != before;
            }
            _ => return false,
        };
        value().map(|new| list.insert(at.min(list.len()), new)).is_some()
    }
}
