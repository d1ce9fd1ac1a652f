//! From a backend's kind, known at run time, to its type: [`visit`](super::visit), and the list that it is made from.

use super::Create;
use crate::socket::Socket;

/// A generic operation on a backend, which [`visit`](super::visit) calls with the backend's type.
pub trait Visitor {
    /// The result of the operation.
    type Output;

    /// Runs the operation with the backend type `B`.
    fn visit<B: Create<Socket = Socket> + 'static>(self) -> Self::Output;
}

/// Makes [`BackendKind`](super::BackendKind) and all that is found by it out of one list of the real backends. `if` says
/// on which systems one is there; the first of those is preferred.
macro_rules! backends {
    ($($(#[$doc:meta])* $kind:ident = $name:literal: $backend:ty, if $here:meta;)*) => {
        /// A kind of backend, by the name that users write.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum BackendKind {
            $($(#[$doc])* $kind,)*
            /// A kernel in memory, under a virtual clock. Chosen by tests alone.
            Simulated,
        }

        /// The real backends of this system, best first.
        pub const PREFERENCE: &[BackendKind] = &[$(#[cfg($here)] BackendKind::$kind),*];

        impl BackendKind {
            /// The word for the command line and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(BackendKind::$kind => $name,)*
                    BackendKind::Simulated => "simulated",
                }
            }

            /// The kernel's own names of its calls; those of the sockets API for a backend that is not on this system.
            #[must_use]
            pub const fn call_names(self) -> &'static CallNames {
                match self {
                    $(#[cfg($here)] BackendKind::$kind => &<$backend as Backend>::CALL_NAMES,)*
                    #[allow(unreachable_patterns, reason = "a system may have all of them")]
                    _ => &CallNames::SOCKETS,
                }
            }
        }

        /// Does something with the backend of a kind.
        ///
        /// # Errors
        /// If this system does not have it.
        pub fn visit<V: Visitor>(kind: BackendKind, visitor: V) -> Result<V::Output, choice::Refusal> {
            match kind {
                $(#[cfg($here)] BackendKind::$kind => Ok(visitor.visit::<$backend>()),)*
                other => Err(choice::Refusal::not_here(other)),
            }
        }
    };
}
pub(super) use backends;
