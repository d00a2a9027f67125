//! The depth of nested values. The engine copies, compares, prints and drops values by recursion: one that nests too deep
//! for the stack would abort the process, so the script is terminated long before.

use std::collections::HashMap;

use rhai::{Dynamic, EvalContext, FnPtr};

/// Levels of arrays, maps, closures and captured variables. `parse_json` alone makes 128.
const MAX_LEVELS: usize = 256;

/// Whether the values of all variables in scope nest within bounds.
pub(super) fn is_bounded(context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> bool {
    let mut walk = DepthWalk::default();
    let variables = context.scope().iter_raw().map(|(_, _, value)| value);
    variables.chain(context.this_ptr()).all(|value| walk.is_bounded(value, 0))
}

#[derive(Default)]
struct DepthWalk {
    /// One more than the deepest level at which a captured variable was visited: many closures may share one, and it is not
    /// walked again for each.
    visited: HashMap<*const Dynamic, usize>,
}

impl DepthWalk {
    fn is_bounded(&mut self, value: &Dynamic, level: usize) -> bool {
        if level > MAX_LEVELS {
            return false;
        }
        if value.is_shared() {
            return self.is_captured_bounded(value, level);
        }
        if let Ok(items) = value.as_array_ref() {
            return items.iter().all(|item| self.is_bounded(item, level + 1));
        }
        if let Ok(map) = value.as_map_ref() {
            return map.values().all(|member| self.is_bounded(member, level + 1));
        }
        if let Some(function) = value.read_lock::<FnPtr>() {
            return function.iter_curry().all(|argument| self.is_bounded(argument, level + 1));
        }
        true
    }

    fn is_captured_bounded(&mut self, value: &Dynamic, level: usize) -> bool {
        // One that is being changed is checked the next time.
        if value.is_locked() {
            return true;
        }
        let Some(inner) = value.read_lock::<Dynamic>() else { return true };
        let visited = self.visited.entry(std::ptr::from_ref(&*inner)).or_default();
        if *visited > level {
            return true;
        }
        *visited = level + 1;
        self.is_bounded(&inner, level + 1)
    }
}
