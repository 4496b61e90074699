//! Remembering results by the identity of what they were made from.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A shared value that is equal to another only if it is the same one. It keeps
/// the value alive, so that an address is never mistaken for an older value's.
pub(crate) struct ById<T: ?Sized>(pub(crate) Arc<T>);

impl<T: ?Sized> ById<T> {
    pub(crate) fn of(value: &Arc<T>) -> Self {
        Self(value.clone())
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }
}

impl<T: ?Sized> Clone for ById<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> PartialEq for ById<T> {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl<T: ?Sized> Eq for ById<T> {}

impl<T: ?Sized> Hash for ById<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

impl<T: ?Sized> Deref for ById<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> fmt::Debug for ById<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:x}", self.address())
    }
}

/// A bounded map that forgets what was not asked for lately.
///
/// Entries live in two generations. When the young one is full it becomes the
/// old one, and what the old one still held is dropped; a hit moves an entry to
/// the young one. At most twice `capacity` entries are held.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Hash + Eq, V: Clone> Memo<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), capacity }
    }

    /// Begins a new generation: what nobody asks for until the next one is
    /// dropped then.
    pub(crate) fn turn(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }

    /// From now on at most twice `capacity` entries.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce(&K) -> V) -> V {
        if let Some(value) = self.get(&key) {
            return value;
        }
        let value = make(&key);
        self.insert(key, value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_in_two_places_are_not_the_same() {
        let (a, b) = (Arc::new(1), Arc::new(1));
        assert_eq!(ById::of(&a), ById::of(&a));
        assert_ne!(ById::of(&a), ById::of(&b));
    }

    #[test]
    fn a_memo_is_bounded_and_keeps_what_is_asked_for() {
        let mut memo = Memo::new(10);
        for i in 0..1000 {
            memo.insert(i, i);
            assert_eq!(memo.get(&0), Some(0));
        }
        assert!(memo.young.len() + memo.old.len() <= 20);
    }

    #[test]
    fn what_nobody_asked_for_since_the_last_turn_is_dropped() {
        let mut memo = Memo::new(10);
        memo.insert("kept", 1);
        memo.insert("lost", 2);
        for _ in 0..3 {
            memo.turn();
            assert_eq!(memo.get(&"kept"), Some(1));
        }
        assert_eq!(memo.get(&"lost"), None);
    }
}
