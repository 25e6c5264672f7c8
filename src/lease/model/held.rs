//! Holds under the model checker: a backend is stopped and started again only while no request is at it.

use super::{Machine, index};
use crate::lease::held::{come_back, leave_aside, set_aside, split};
use crate::lease::{Entered, leave};
use crate::word::Word;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

impl Machine {
    fn is_held(&self) -> bool {
        Word::from_bits(self.word.load(Ordering::Acquire)).is_held()
    }

    /// Stores the word of a change that keeps the set.
    fn hold(&self, held: bool) {
        let word = Word::from_bits(self.word.load(Ordering::Acquire)).holding(held);
        self.word.store(word.bits(), Ordering::Release);
    }

    /// Whether no request can be at the backend of slot 0: what `slotctl hold -- CMD` asks.
    fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.rows.iter().all(|row| split(row.in_flight[0].load(Ordering::Acquire)).1 == 0)
    }

    fn counter(&self, row: usize) -> &AtomicU64 {
        &self.rows[row].in_flight[0]
    }

    /// A whole request, which waits in its slot if it has to: it looks once whether the hold is over, and gives up
    /// if it is not.
    fn wait_inside(&self, row: usize) {
        let Entered { word, slot } = self.enter(row);
        let counter = &self.rows[row].in_flight[slot.get()];
        if word.is_held() {
            set_aside(counter);
            if !come_back(counter, || self.is_held()) {
                return leave_aside(counter);
            }
        }
        self.ask(slot);
        leave(counter);
    }

    /// The same for a request that waits in no slot, and enters again.
    fn wait_outside(&self, row: usize) {
        let Entered { word, slot } = self.enter(row);
        let counter = &self.rows[row].in_flight[slot.get()];
        if !word.is_held() {
            self.ask(slot);
            return leave(counter);
        }
        set_aside(counter);
        leave_aside(counter);
        let Entered { word, slot } = self.enter(row);
        if !word.is_held() {
            self.ask(slot);
        }
        leave(&self.rows[row].in_flight[slot.get()]);
    }

    /// The operator's restart of the backend of slot 0.
    #[allow(unsafe_code, reason = "loom's cells are checked by loom")]
    fn restart(&self) {
        self.hold(true);
        if self.is_empty() {
            // SAFETY: loom checks that no request is there.
            self.stopped[0].with_mut(|stopped| unsafe { *stopped = true });
            // SAFETY: as above.
            self.stopped[0].with_mut(|stopped| unsafe { *stopped = false });
        }
        self.hold(false);
    }
}

#[test]
fn a_backend_is_restarted_only_while_no_request_is_at_it() {
    for wait in [Machine::wait_inside, Machine::wait_outside] {
        loom::model(move || {
            let machine = Machine::new();
            let child = {
                let machine = machine.clone();
                thread::spawn(move || wait(&machine, 0))
            };
            machine.restart();
            child.join().unwrap();
        });
    }
}

/// All orders with three preemptions at most; there are too many of the others.
#[test]
fn two_requests_of_one_process_meet_no_stop() {
    let mut bounded = loom::model::Builder::new();
    bounded.preemption_bound = Some(3);
    bounded.check(|| {
        let machine = Machine::new();
        let children = [0, 0].map(|row| {
            let machine = machine.clone();
            thread::spawn(move || machine.wait_inside(row))
        });
        machine.hold(true);
        if machine.is_empty() {
            machine.stop(0);
            return children.into_iter().for_each(|child| child.join().unwrap());
        }
        children.into_iter().for_each(|child| child.join().unwrap());
    });
}

/// The drain of a flip waits for those that were set aside, because they come back into their slot.
#[test]
fn a_flip_during_a_hold_drains_the_requests_that_wait_inside() {
    loom::model(|| {
        let machine = Machine::new();
        machine.hold(true);
        let child = {
            let machine: Arc<Machine> = machine.clone();
            thread::spawn(move || machine.wait_inside(0))
        };
        let flipped = Word::from_bits(machine.word.load(Ordering::Acquire)).flipped(index(1));
        machine.word.store(flipped.released().bits(), Ordering::Release);
        if machine.is_drained(0) {
            machine.stop(0);
        }
        child.join().unwrap();
        assert_eq!(machine.counter(0).load(Ordering::Relaxed), 0);
    });
}

/// A request comes back from a hold when the next one begins.
#[test]
fn the_next_hold_sees_a_request_that_comes_back() {
    loom::model(|| {
        let machine = Machine::new();
        machine.hold(true);
        let child = {
            let machine = machine.clone();
            thread::spawn(move || machine.wait_inside(0))
        };
        machine.hold(false);
        machine.hold(true);
        if machine.is_empty() {
            machine.stop(0);
        }
        child.join().unwrap();
    });
}
