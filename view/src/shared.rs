//! Values of which each is kept once, however many use it.

use std::{collections::HashSet, hash::Hash, sync::Arc};

/// So few values are never looked through.
const FEWEST_SWEPT: usize = 64;

/// The values that are in use, each once. A value that nothing else uses any more is forgotten in time: at the latest when
/// there are twice as many values as were in use before.
#[derive(Debug)]
pub(crate) struct Shared<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// How many values there are when those out of use are forgotten next.
    sweep_at: usize,
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            sweep_at: FEWEST_SWEPT,
        }
    }
}

impl<T: Eq + Hash + ?Sized> Shared<T> {
    /// The value that is equal to `value` and in use already, or else `value`.
    pub(crate) fn share(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(&value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = FEWEST_SWEPT.max(self.values.len() * 2);
            self.values.shrink_to(self.sweep_at);
        }
        self.values.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_those_out_of_use_are_forgotten() {
        let mut shared = Shared::<str>::default();
        let kept = shared.share(Arc::from("kept"));
        assert!(Arc::ptr_eq(&kept, &shared.share(Arc::from("kept"))));
        for number in 0..10_000 {
            let _ = shared.share(Arc::from(number.to_string()));
            assert!(shared.values.len() <= FEWEST_SWEPT);
        }
        assert!(Arc::ptr_eq(&kept, &shared.share(Arc::from("kept"))));
    }
}
