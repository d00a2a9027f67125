//! How deep values nest. The language copies, compares, prints and drops values by recursion: one that nests deeper
//! than the stack is high would end the process, so a script is ended long before.

use std::collections::HashMap;

use rhai::{Dynamic, EvalContext, FnPtr};

/// Levels of arrays, maps, closures and captured variables. `parse_json` alone makes 128.
const MAX_LEVELS: usize = 256;

/// Whether every variable in sight nests within bounds.
pub(super) fn is_bounded(context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> bool {
    let mut walk = DepthWalk::default();
    let variables = context.scope().iter_raw().map(|(_, _, value)| value);
    variables.chain(context.this_ptr()).all(|value| walk.is_bounded(value, 0))
}

#[derive(Default)]
struct DepthWalk {
    /// How deep a captured variable was met: many closures may share one, and it must not be walked for each.
    met: HashMap<*const Dynamic, usize>,
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
        // One that is being changed right now will be seen the next time.
        if value.is_locked() {
            return true;
        }
        let Some(inner) = value.read_lock::<Dynamic>() else { return true };
        let met = self.met.entry(std::ptr::from_ref(&*inner)).or_default();
        if *met > level {
            return true;
        }
        *met = level + 1;
        self.is_bounded(&inner, level + 1)
    }
}
