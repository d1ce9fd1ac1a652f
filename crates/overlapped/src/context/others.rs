//! The states of the sessions whose callback does not run at the moment. The state of the session whose callback runs is
//! borrowed by that callback, so it is not among them.

/// The handler's states of a worker's sessions, by slot, except those that are borrowed already.
pub(crate) struct Others<'a, S> {
    /// Before and after the borrowed slot.
    near: [Piece<'a, S>; 2],
    /// The rest, if more than one slot is borrowed. Nearly always empty, so it does not allocate.
    far: Vec<Piece<'a, S>>,
}

/// Neighbouring slots.
struct Piece<'a, S> {
    /// The slot of the first one.
    first: usize,
    slots: &'a mut [Option<S>],
}

impl<'a, S> Others<'a, S> {
    /// All states: none is borrowed.
    #[inline]
    pub(crate) fn all(slots: &'a mut [Option<S>]) -> Others<'a, S> {
        let near = [Piece { first: 0, slots }, Piece { first: 0, slots: &mut [] }];
        Others { near, far: Vec::new() }
    }

    /// The state in `slot`, and all others. `None` if the slot is empty.
    #[inline]
    pub(crate) fn around(slots: &'a mut [Option<S>], slot: usize) -> Option<(&'a mut S, Others<'a, S>)> {
        let (state, near) = Piece { first: 0, slots }.split(slot)?;
        Some((state, Others { near, far: Vec::new() }))
    }

    /// The same again, for a shorter time.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> Others<'_, S> {
        let near = self.near.each_mut().map(Piece::reborrow);
        Others { near, far: self.far.iter_mut().map(Piece::reborrow).collect() }
    }

    /// The state in `slot`, and all others. `None` if the slot is empty, or its state is borrowed.
    pub(crate) fn borrow(&mut self, slot: usize) -> Option<(&mut S, Others<'_, S>)> {
        let (mut borrowed, mut far) = (None, Vec::new());
        for piece in self.near.iter_mut().chain(&mut self.far) {
            match piece {
                Piece { slots: [], .. } => {}
                Piece { first, slots } if (*first..*first + slots.len()).contains(&slot) => {
                    borrowed = Some(piece.reborrow().split(slot)?);
                }
                other => far.push(other.reborrow()),
            }
        }
        borrowed.map(|(state, near)| (state, Others { near, far }))
    }
}

impl<'a, S> Piece<'a, S> {
    #[inline]
    fn reborrow(&mut self) -> Piece<'_, S> {
        Piece { first: self.first, slots: self.slots }
    }

    /// Takes one slot out.
    #[inline]
    fn split(self, slot: usize) -> Option<(&'a mut S, [Piece<'a, S>; 2])> {
        let Piece { first, slots } = self;
        let (before, rest) = slots.split_at_mut_checked(slot - first)?;
        let (state, after) = rest.split_first_mut()?;
        let state = state.as_mut()?;
        Some((state, [Piece { first, slots: before }, Piece { first: slot + 1, slots: after }]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_slot_and_a_borrowed_one_are_not_found() {
        let mut slots = [Some(0), None, Some(2)];
        assert!(Others::around(&mut slots, 1).is_none());
        assert!(Others::around(&mut slots, 3).is_none());
        let (_, mut others) = Others::around(&mut slots, 0).unwrap();
        assert!(others.borrow(0).is_none());
        assert!(others.borrow(1).is_none());
        assert_eq!(others.borrow(2).map(|(state, _)| *state), Some(2));
        assert!(others.borrow(3).is_none());
    }

    /// Borrows the slots one inside the other, each from what the one before left, and checks every slot at each depth.
    fn nest(mut others: Others<'_, usize>, order: &[usize], borrowed: &mut Vec<usize>, len: usize) {
        for slot in 0..len {
            let found = others.borrow(slot).map(|(state, _)| *state);
            assert_eq!(found, (!borrowed.contains(&slot)).then_some(slot), "with {borrowed:?} borrowed");
        }
        if let Some((next, rest)) = order.split_first()
            && let Some((state, others)) = others.borrow(*next)
        {
            assert_eq!(*state, *next);
            borrowed.push(*next);
            nest(others, rest, borrowed, len);
        }
    }

    proptest! {
        #[test]
        fn each_state_is_found_unless_it_is_borrowed(
            order in (1usize..9).prop_flat_map(|len| Just((0..len).collect::<Vec<_>>()).prop_shuffle()),
        ) {
            let len = order.len();
            let mut slots: Vec<Option<usize>> = (0..len).map(Some).collect();
            nest(Others::all(&mut slots), &order, &mut Vec::new(), len);
        }
    }
}
