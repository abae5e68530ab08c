//! Objects of a kernel by number.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The number of an object. Numbers are never used again, so a stale one names nothing.
pub(crate) struct Id<T> {
    index: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    fn new(index: usize) -> Self {
        Self { index: index as u32, kind: PhantomData }
    }

    pub(crate) fn number(self) -> u32 {
        self.index
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}

/// Objects of one kind. Indexing with the number of a removed object is a mistake of the simulator, and panics.
pub(crate) struct Arena<T> {
    objects: Vec<Option<T>>,
}

impl<T> Arena<T> {
    pub(crate) fn insert(&mut self, object: T) -> Id<T> {
        self.objects.push(Some(object));
        Id::new(self.objects.len() - 1)
    }

    pub(crate) fn remove(&mut self, id: Id<T>) -> Option<T> {
        self.objects.get_mut(id.index as usize)?.take()
    }

    pub(crate) fn get(&self, id: Id<T>) -> Option<&T> {
        self.objects.get(id.index as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        self.objects.get_mut(id.index as usize)?.as_mut()
    }

    /// In the order in which they were made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.objects.iter().enumerate().filter_map(|(i, object)| Some((Id::new(i), object.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Id<T>, &mut T)> {
        self.objects.iter_mut().enumerate().filter_map(|(i, object)| Some((Id::new(i), object.as_mut()?)))
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { objects: Vec::new() }
    }
}

impl<T> Index<Id<T>> for Arena<T> {
    type Output = T;

    fn index(&self, id: Id<T>) -> &T {
        self.get(id).expect("an object that lives")
    }
}

impl<T> IndexMut<Id<T>> for Arena<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        self.get_mut(id).expect("an object that lives")
    }
}

impl<T: fmt::Debug> fmt::Debug for Arena<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
