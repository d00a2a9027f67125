//! The variables that closures have captured. Closures share them by reference counts, so that a closure reachable from
//! itself would never be freed; therefore the variables that a call captured are emptied when it ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use rhai::{AST, ASTNode, Dynamic, EvalContext, FnPtr, Stmt};

/// The captured variables of the running call.
#[derive(Default)]
pub(super) struct SavedCaptures {
    /// Whether any script captures variables. Most do not, and then no variable need be examined.
    pub possible: Cell<bool>,
    of_call: RefCell<HashMap<*const Dynamic, Dynamic>>,
    /// Those of top levels, which live as long as their programs.
    of_top_levels: RefCell<HashMap<*const Dynamic, Dynamic>>,
}

impl SavedCaptures {
    /// Notes whether this script captures variables.
    pub fn expect(&self, ast: &AST) {
        let mut found = false;
        ast.walk(&mut |path| {
            found |= matches!(path.last(), Some(ASTNode::Stmt(Stmt::Share(..))));
            !found
        });
        self.possible.set(self.possible.get() || found);
    }

    /// Saves a variable that is being read, if it is a captured one, in a call or at a top level. `index` counts from 1 from
    /// the end of the scope; 0: found by name.
    pub fn note(
        &self,
        is_call: bool,
        index: usize,
        name: &str,
        context: &EvalContext<'_, '_, '_, '_, '_, '_>,
    ) {
        let scope = context.scope();
        let value = match index {
            0 => scope.get(name),
            // The newest is first.
            index => scope.iter_raw().nth(index - 1).map(|(.., value)| value),
        };
        if let Some(value) = value.filter(|value| value.is_shared() && !value.is_locked())
            && let Some(id) = id(value)
        {
            let mut of_top_levels = self.of_top_levels.borrow_mut();
            if !is_call {
                of_top_levels.insert(id, value.clone());
            } else if !of_top_levels.contains_key(&id) {
                self.of_call.borrow_mut().entry(id).or_insert_with(|| value.clone());
            }
        }
    }

    /// Empties the variables that the call captured. `ctx` outlives the call, so it must not hold a closure that shares
    /// one: if it does, it is emptied too and the result is false.
    pub fn release(&self, ctx: &Dynamic) -> bool {
        let mut of_call = self.of_call.borrow_mut();
        if of_call.is_empty() {
            return true;
        }
        let is_data = !holds_captures(ctx);
        if is_data && let Some(id) = id(ctx) {
            of_call.remove(&id);
        }
        for (_, mut value) in of_call.drain() {
            // The content is dropped after it was taken out, when nothing reachable from it refers to it any more.
            let content = value.write_lock::<Dynamic>().map(|mut value| std::mem::take(&mut *value));
            drop(content);
        }
        if !is_data {
            let content = ctx.clone().write_lock::<Dynamic>().map(|mut ctx| std::mem::take(&mut *ctx));
            drop(content);
        }
        is_data
    }
}

/// The identity of a captured variable.
fn id(value: &Dynamic) -> Option<*const Dynamic> {
    value.read_lock::<Dynamic>().filter(|_| value.is_shared()).map(|inner| std::ptr::from_ref(&*inner))
}

/// Whether the value contains a closure that shares a variable.
fn holds_captures(value: &Dynamic) -> bool {
    if let Ok(items) = value.as_array_ref() {
        return items.iter().any(holds_captures);
    }
    if let Ok(map) = value.as_map_ref() {
        return map.values().any(holds_captures);
    }
    let function = value.read_lock::<FnPtr>();
    function.is_some_and(|function| function.iter_curry().any(|a| a.is_shared() || holds_captures(a)))
}
