//! The process's memory, which holds secrets: the system neither dumps it nor lets debuggers read it, unless
//! `core_dumps` permits that.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::settings::CoreDumps;

/// Applies the setting to this process. Failures are logged: the gateway then runs as it would with `core_dumps`.
pub fn protect(core_dumps: CoreDumps) {
    if core_dumps == CoreDumps::Permitted {
        return;
    }
    let maximum = getrlimit(Resource::Core).maximum.map(|_| 0);
    let none = Rlimit { current: Some(0), maximum };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "cannot set the size limit of core dumps to 0");
    }
    // A core dump that is piped to a program has no size limit; this prevents it as well.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot prevent core dumps and debuggers");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn memory_is_neither_dumped_nor_read_unless_that_is_permitted() {
        protect(CoreDumps::Permitted);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        protect(CoreDumps::Prevented);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        // Other tests of this process may need it.
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
