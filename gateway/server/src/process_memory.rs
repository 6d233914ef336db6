//! The process's memory, which holds secrets: the system neither dumps it nor lets debuggers read it, unless
//! `core_dumps` permits that.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::settings::CoreDumps;

/// Applies the setting to this process. Failures are logged: the gateway then runs as it would with `core_dumps`.
pub fn protect(core_dumps: CoreDumps) {
    if core_dumps == CoreDumps::Permitted {
        return;
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
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
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn memory_is_neither_dumped_nor_read_unless_that_is_permitted() {
        protect(CoreDumps::Permitted);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        protect(CoreDumps::Prevented);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        // Other tests of this process may need it.
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
