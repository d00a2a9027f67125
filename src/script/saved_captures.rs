//! The variables that closures have captured. A closure shares them by counting references, and one that is reachable
//! from itself would never be freed; so what a call captured is emptied when the call ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use rhai::{AST, ASTNode, Dynamic, EvalContext, FnPtr, Stmt};

/// The captured variables of the call that runs.
#[derive(Default)]
pub(super) struct SavedCaptures {
    /// Whether any script captures anything at all; most don't, and then no variable need be looked at.
    pub possible: Cell<bool>,
    seen: RefCell<HashMap<*const Dynamic, Dynamic>>,
    /// Those of top levels, which live as long as their programs.
    kept: RefCell<HashMap<*const Dynamic, Dynamic>>,
}

impl SavedCaptures {
    /// Whether this script captures variables.
    pub fn expect(&self, ast: &AST) {
        let mut found = false;
        ast.walk(&mut |path| {
            found |= matches!(path.last(), Some(ASTNode::Stmt(Stmt::Share(..))));
            !found
        });
        self.possible.set(self.possible.get() || found);
    }

    /// Notes a variable that is being read, if it is a captured one: in a call or at a top level. `index` counts from
    /// the scope's end, from 1.
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
            // The newest comes first.
            index => scope.iter_raw().nth(index - 1).map(|(.., value)| value),
        };
        if let Some(value) = value.filter(|value| value.is_shared() && !value.is_locked())
            && let Some(id) = id(value)
        {
            let mut kept = self.kept.borrow_mut();
            if !is_call {
                kept.insert(id, value.clone());
            } else if !kept.contains_key(&id) {
                self.seen.borrow_mut().entry(id).or_insert_with(|| value.clone());
            }
        }
    }

    /// Empties what the call captured. `ctx` lives on, so it must not hold a closure that needs any of it: false, and
    /// `ctx` is emptied too.
    pub fn release(&self, ctx: &Dynamic) -> bool {
        let mut seen = self.seen.borrow_mut();
        if seen.is_empty() {
            return true;
        }
        let is_data = !holds_captures(ctx);
        if is_data && let Some(id) = id(ctx) {
            seen.remove(&id);
        }
        for (_, mut value) in seen.drain() {
            // Its content is dropped when nothing holds it any more that could be reached from it.
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

/// What tells one captured variable from another.
fn id(value: &Dynamic) -> Option<*const Dynamic> {
    value.read_lock::<Dynamic>().filter(|_| value.is_shared()).map(|inner| std::ptr::from_ref(&*inner))
}

/// Whether a closure in there shares a variable.
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
