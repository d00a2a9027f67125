//! Finds header names, written out in a script, that no script may set: the call that does so would fail whenever it runs.
//!
//! Only what is certain is found: names of headers of `req` and `res` where these are parameters, and not other variables
//! of that name.

use rhai::{AST, ASTNode, BinaryExpr, Expr, Position, ScriptFuncDef, Stmt};

use super::call_stage::Hook;
use super::objects::{RequestSide, ResponseSide, header_refusal};

/// What is wrong with the names of a script's headers, with the place of each.
pub(super) fn wrong_headers(ast: &AST) -> Vec<(Position, String)> {
    let mut found: Vec<(Position, String)> = Vec::new();
    // What a closure does is found where it is made.
    for function in ast.iter_fn_def().filter(|function| !function.name.starts_with("anon$")) {
        let alone = ast.clone_functions_only_filtered(|_, _, _, name, parameters| {
            *name == *function.name && parameters == function.params.len()
        });
        let mut messages = Messages::of(function);
        alone.walk(&mut |path| {
            if let Some(ASTNode::Stmt(Stmt::Var(variable, ..))) = path.last() {
                messages.hide(&variable.0.name);
            }
            true
        });
        alone.walk(&mut |path| {
            if let Some(wrong) = path.last().and_then(|node| messages.wrong_header(node))
                && !found.contains(&wrong)
            {
                found.push(wrong);
            }
            true
        });
    }
    found
}

/// The names under which a function knows the two messages.
struct Messages<'a> {
    request: Option<&'a str>,
    response: Option<&'a str>,
}

/// How a header is named.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    /// As the target of an assignment.
    Target,
    /// Anywhere.
    Value,
}

impl<'a> Messages<'a> {
    fn of(function: &'a ScriptFuncDef) -> Messages<'a> {
        let is_hook = Hook::ALL.iter().any(|hook| hook.name() == function.name.as_str());
        let mut parameters = function.params.iter().map(|name| name.as_str());
        if is_hook {
            return Messages { request: parameters.next(), response: parameters.next() };
        }
        let find = |wanted| parameters.clone().find(|name| *name == wanted);
        Messages { request: find("req"), response: find("res") }
    }

    /// The function has another variable of this name.
    fn hide(&mut self, name: &str) {
        for message in [&mut self.request, &mut self.response] {
            message.take_if(|message| *message == name);
        }
    }

    fn wrong_header(&self, node: &ASTNode<'_>) -> Option<(Position, String)> {
        let (expression, how) = match node {
            ASTNode::Stmt(Stmt::Assignment(assignment)) => (&assignment.1.lhs, Use::Target),
            ASTNode::Expr(expression) => (*expression, Use::Value),
            _ => return None,
        };
        let Expr::Dot(path, ..) = expression else { return None };
        let Expr::Variable(variable, ..) = &path.lhs else { return None };
        let variable = Some(variable.1.as_str());
        let (name, place) = changed_header(&path.rhs, how)?;
        let message = if variable == self.request {
            header_refusal::<RequestSide>(name)
        } else if variable == self.response {
            header_refusal::<ResponseSide>(name)
        } else {
            None
        };
        message.map(|message| (place, message))
    }
}

/// The header that is changed by this, read from behind `req.` on: `headers["x"]` or `headers.x` as a target,
/// `headers.add("x", …)` or `headers.remove("x")` anywhere.
fn changed_header(path: &Expr, how: Use) -> Option<(&str, Position)> {
    let of_headers =
        |path: &'_ BinaryExpr| matches!(&path.lhs, Expr::Property(name, _) if name.2 == "headers");
    match path {
        Expr::Index(path, ..) if how == Use::Target && of_headers(path) => literal(&path.rhs),
        Expr::Dot(path, ..) if of_headers(path) => match &path.rhs {
            Expr::Property(name, place) if how == Use::Target => Some((name.2.as_str(), *place)),
            Expr::MethodCall(call, _) if matches!(call.name.as_str(), "add" | "remove") => {
                call.args.first().and_then(literal)
            }
            _ => None,
        },
        _ => None,
    }
}

fn literal(expression: &Expr) -> Option<(&str, Position)> {
    match expression {
        Expr::StringConstant(text, place) => Some((text.as_str(), *place)),
        _ => None,
    }
}
