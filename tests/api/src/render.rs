//! Types, bounds and signatures as Rust writes them, with the paths by which a program can name them.

use std::collections::HashMap;

use serde_json::Value;

use crate::Result;

/// The ends of the paths in the standard library of which only the last word is written.
const SHORT: [&str; 33] = [
    "boxed::Box",
    "clone::Clone",
    "cmp::Eq",
    "cmp::Ord",
    "cmp::PartialEq",
    "cmp::PartialOrd",
    "collect::Extend",
    "collect::FromIterator",
    "collect::IntoIterator",
    "convert::AsMut",
    "convert::AsRef",
    "convert::From",
    "convert::Into",
    "default::Default",
    "deref::Deref",
    "deref::DerefMut",
    "drop::Drop",
    "fmt::Debug",
    "fmt::Display",
    "function::Fn",
    "function::FnMut",
    "function::FnOnce",
    "hash::Hash",
    "iterator::Iterator",
    "marker::Copy",
    "marker::Send",
    "marker::Sized",
    "marker::Sync",
    "marker::Unpin",
    "option::Option",
    "result::Result",
    "string::String",
    "vec::Vec",
];

/// The public path of what several crates define, by the path of its definition.
#[derive(Debug, Default)]
pub(crate) struct Paths(HashMap<String, String>);

impl Paths {
    /// Follows the public modules of a crate; the shortest path to an item counts.
    pub(crate) fn learn(&mut self, krate: &Value) -> Result<()> {
        let root = krate["root"].to_string();
        let name = text(&krate["index"][&root]["name"])?.to_owned();
        let mut modules = vec![(root, name)];
        while let Some((module, path)) = modules.pop() {
            for id in list(&krate["index"][&module]["inner"]["module"]["items"])? {
                let item = &krate["index"][id.to_string()];
                let (id, name) = match item["inner"].get("use") {
                    Some(import) => (import["id"].to_string(), &import["name"]),
                    None => (id.to_string(), &item["name"]),
                };
                let path = format!("{path}::{}", text(name)?);
                // What another crate defines has its path there.
                let Some(item) = krate["index"].get(&id) else { continue };
                if let Some(definition) = definition(krate, &id) {
                    let known = self.0.entry(definition).or_insert_with(|| path.clone());
                    if (path.matches("::").count(), &path) < (known.matches("::").count(), known) {
                        known.clone_from(&path);
                    }
                }
                if item["inner"].get("module").is_some() {
                    modules.push((id, path));
                }
            }
        }
        Ok(())
    }
}

/// The path of a definition, private modules and all.
fn definition(krate: &Value, id: &str) -> Option<String> {
    let path = krate["paths"].get(id)?["path"].as_array()?;
    Some(path.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("::"))
}

pub(crate) fn last_word(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

pub(crate) fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| unknown("text", value))
}

pub(crate) fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().ok_or_else(|| unknown("list", value))
}

pub(crate) fn flag(value: &Value) -> bool {
    value.as_bool() == Some(true)
}

pub(crate) fn unknown(what: &str, value: &Value) -> String {
    format!("rustdoc's JSON has a {what} of an unknown shape: {value}")
}

/// The only key of an object that stands for a variant, and its value; of a bare word the word.
pub(crate) fn variant(value: &Value) -> Result<(&str, &Value)> {
    if let Some(word) = value.as_str() {
        return Ok((word, &Value::Null));
    }
    let object = value.as_object().ok_or_else(|| unknown("variant", value))?;
    let (key, inner) = object.iter().next().ok_or_else(|| unknown("variant", value))?;
    Ok((key, inner))
}

/// Writes what one crate's JSON holds.
#[derive(Debug)]
pub(crate) struct Render<'a> {
    pub(crate) krate: &'a Value,
    pub(crate) public: &'a Paths,
}

impl Render<'_> {
    /// The path of what an id stands for; `written` is how the source has it.
    pub(crate) fn path(&self, id: &Value, written: &Value) -> Result<String> {
        let Some(definition) = definition(self.krate, &id.to_string()) else {
            return Ok(text(written)?.trim_start_matches("$crate::").to_owned());
        };
        if let Some(path) = self.public.0.get(&definition) {
            return Ok(path.clone());
        }
        let is_standard = ["core::", "alloc::", "std::"].iter().any(|root| definition.starts_with(root));
        let (parent, last) = definition.rsplit_once("::").unwrap_or(("", &definition));
        let end = format!("{}::{last}", last_word(parent));
        Ok(if is_standard && SHORT.contains(&end.as_str()) { last.to_owned() } else { definition })
    }

    /// A path with its arguments: a type, or a trait.
    pub(crate) fn named(&self, value: &Value) -> Result<String> {
        Ok(self.path(&value["id"], &value["path"])? + &self.args(&value["args"])?)
    }

    fn args(&self, args: &Value) -> Result<String> {
        if args.is_null() {
            return Ok(String::new());
        }
        let (kind, inner) = variant(args)?;
        match kind {
            "angle_bracketed" => {
                let mut parts = Vec::new();
                for arg in list(&inner["args"])? {
                    let (kind, arg) = variant(arg)?;
                    parts.push(match kind {
                        "lifetime" => text(arg)?.to_owned(),
                        "type" => self.ty(arg)?,
                        "const" => text(&arg["expr"])?.to_owned(),
                        "infer" => "_".to_owned(),
                        _ => return Err(unknown("generic argument", arg)),
                    });
                }
                for constraint in list(&inner["constraints"])? {
                    let name = text(&constraint["name"])?;
                    let (kind, binding) = variant(&constraint["binding"])?;
                    parts.push(match kind {
                        "equality" => format!("{name} = {}", self.term(binding)?),
                        "constraint" => format!("{name}: {}", self.bounds(binding)?),
                        _ => return Err(unknown("constraint", constraint)),
                    });
                }
                Ok(if parts.is_empty() { String::new() } else { format!("<{}>", parts.join(", ")) })
            }
            "parenthesized" => {
                let inputs =
                    list(&inner["inputs"])?.iter().map(|ty| self.ty(ty)).collect::<Result<Vec<_>>>()?;
                Ok(format!("({}){}", inputs.join(", "), self.output(&inner["output"])?))
            }
            _ => Err(unknown("list of arguments", args)),
        }
    }

    fn term(&self, term: &Value) -> Result<String> {
        match variant(term)? {
            ("type", ty) => self.ty(ty),
            ("constant", constant) => Ok(text(&constant["expr"])?.to_owned()),
            _ => Err(unknown("term", term)),
        }
    }

    pub(crate) fn ty(&self, ty: &Value) -> Result<String> {
        let (kind, inner) = variant(ty)?;
        Ok(match kind {
            "resolved_path" => self.named(inner)?,
            "generic" | "primitive" => text(inner)?.to_owned(),
            "borrowed_ref" => {
                let lifetime = inner["lifetime"].as_str().map(|name| format!("{name} ")).unwrap_or_default();
                let mutable = if flag(&inner["is_mutable"]) { "mut " } else { "" };
                format!("&{lifetime}{mutable}{}", self.ty(&inner["type"])?)
            }
            "raw_pointer" => {
                let mutable = if flag(&inner["is_mutable"]) { "mut" } else { "const" };
                format!("*{mutable} {}", self.ty(&inner["type"])?)
            }
            "slice" => format!("[{}]", self.ty(inner)?),
            "array" => format!("[{}; {}]", self.ty(&inner["type"])?, text(&inner["len"])?),
            "tuple" => {
                let types = list(inner)?.iter().map(|ty| self.ty(ty)).collect::<Result<Vec<_>>>()?;
                format!("({}{})", types.join(", "), if types.len() == 1 { "," } else { "" })
            }
            "impl_trait" => format!("impl {}", self.bounds(inner)?),
            "dyn_trait" => {
                let mut parts = Vec::new();
                for bound in list(&inner["traits"])? {
                    parts.push(self.higher_ranked(&bound["generic_params"])? + &self.named(&bound["trait"])?);
                }
                parts.extend(inner["lifetime"].as_str().map(str::to_owned));
                format!("dyn {}", parts.join(" + "))
            }
            "qualified_path" => {
                let of = self.ty(&inner["self_type"])?;
                let name = text(&inner["name"])?.to_owned() + &self.args(&inner["args"])?;
                if inner["trait"].is_null() || inner["trait"]["path"] == "" {
                    format!("{of}::{name}")
                } else {
                    format!("<{of} as {}>::{name}", self.named(&inner["trait"])?)
                }
            }
            "function_pointer" => {
                let parameters = self.parameters(&inner["sig"])?;
                let head = self.higher_ranked(&inner["generic_params"])? + &header(&inner["header"])?;
                format!("{head}fn({parameters}){}", self.output(&inner["sig"]["output"])?)
            }
            _ => return Err(unknown("type", ty)),
        })
    }

    pub(crate) fn bounds(&self, bounds: &Value) -> Result<String> {
        let mut parts = Vec::new();
        for bound in list(bounds)? {
            let (kind, inner) = variant(bound)?;
            parts.push(match kind {
                "trait_bound" => {
                    let modifier = match text(&inner["modifier"])? {
                        "none" => "",
                        "maybe" => "?",
                        _ => return Err(unknown("bound", bound)),
                    };
                    let ranked = self.higher_ranked(&inner["generic_params"])?;
                    format!("{ranked}{modifier}{}", self.named(&inner["trait"])?)
                }
                "outlives" => text(inner)?.to_owned(),
                "use" => {
                    let names: Vec<_> =
                        list(inner)?.iter().filter_map(|arg| variant(arg).ok()?.1.as_str()).collect();
                    format!("use<{}>", names.join(", "))
                }
                _ => return Err(unknown("bound", bound)),
            });
        }
        Ok(parts.join(" + "))
    }

    fn higher_ranked(&self, params: &Value) -> Result<String> {
        let params = self.generic_params(params)?;
        Ok(if params.is_empty() { params } else { format!("for{params} ") })
    }

    /// `<'a, T: Bound>`, or nothing.
    pub(crate) fn generic_params(&self, params: &Value) -> Result<String> {
        let mut parts = Vec::new();
        for param in list(params)? {
            let name = text(&param["name"])?;
            let (kind, inner) = variant(&param["kind"])?;
            parts.push(match kind {
                "lifetime" => with_bounds(name, &words(&inner["outlives"])?.join(" + ")),
                // `impl Trait` in the place of an argument, which is written there.
                "type" if flag(&inner["is_synthetic"]) => continue,
                "type" => {
                    let default = if inner["default"].is_null() {
                        String::new()
                    } else {
                        format!(" = {}", self.ty(&inner["default"])?)
                    };
                    with_bounds(name, &self.bounds(&inner["bounds"])?) + &default
                }
                "const" => {
                    let default =
                        inner["default"].as_str().map(|value| format!(" = {value}")).unwrap_or_default();
                    format!("const {name}: {}{default}", self.ty(&inner["type"])?)
                }
                _ => return Err(unknown("generic parameter", param)),
            });
        }
        Ok(if parts.is_empty() { String::new() } else { format!("<{}>", parts.join(", ")) })
    }

    /// ` where ...`, or nothing.
    pub(crate) fn where_clause(&self, generics: &Value) -> Result<String> {
        let mut parts = Vec::new();
        for predicate in list(&generics["where_predicates"])? {
            let (kind, inner) = variant(predicate)?;
            parts.push(match kind {
                "bound_predicate" => {
                    let ranked = self.higher_ranked(&inner["generic_params"])?;
                    format!("{ranked}{}: {}", self.ty(&inner["type"])?, self.bounds(&inner["bounds"])?)
                }
                "lifetime_predicate" => {
                    with_bounds(text(&inner["lifetime"])?, &words(&inner["outlives"])?.join(" + "))
                }
                "eq_predicate" => format!("{} == {}", self.ty(&inner["lhs"])?, self.term(&inner["rhs"])?),
                _ => return Err(unknown("predicate", predicate)),
            });
        }
        Ok(if parts.is_empty() { String::new() } else { format!(" where {}", parts.join(", ")) })
    }

    fn parameters(&self, signature: &Value) -> Result<String> {
        let mut parts = Vec::new();
        for input in list(&signature["inputs"])? {
            let (name, ty) = (text(&input[0])?, self.ty(&input[1])?);
            parts.push(match (name, ty.as_str()) {
                ("self", "Self") => "self".to_owned(),
                ("self", "&Self") => "&self".to_owned(),
                ("self", "&mut Self") => "&mut self".to_owned(),
                // Without its name, which no caller can see.
                ("self", _) => format!("self: {ty}"),
                _ => ty,
            });
        }
        if flag(&signature["is_c_variadic"]) {
            parts.push("...".to_owned());
        }
        Ok(parts.join(", "))
    }

    fn output(&self, output: &Value) -> Result<String> {
        if output.is_null() { Ok(String::new()) } else { Ok(format!(" -> {}", self.ty(output)?)) }
    }

    /// A function, by the path that is given.
    pub(crate) fn function(&self, function: &Value, path: &str) -> Result<String> {
        let (generics, signature) = (&function["generics"], &function["sig"]);
        Ok(format!(
            "{}fn {path}{}({}){}{}",
            header(&function["header"])?,
            self.generic_params(&generics["params"])?,
            self.parameters(signature)?,
            self.output(&signature["output"])?,
            self.where_clause(generics)?,
        ))
    }
}

fn words(value: &Value) -> Result<Vec<&str>> {
    list(value)?.iter().map(text).collect()
}

fn with_bounds(name: &str, bounds: &str) -> String {
    if bounds.is_empty() { name.to_owned() } else { format!("{name}: {bounds}") }
}

fn header(header: &Value) -> Result<String> {
    let mut words = String::new();
    for (key, word) in [("is_const", "const "), ("is_async", "async "), ("is_unsafe", "unsafe ")] {
        if flag(&header[key]) {
            words += word;
        }
    }
    let (abi, _) = variant(&header["abi"])?;
    if abi != "Rust" {
        words += &format!("extern \"{abi}\" ");
    }
    Ok(words)
}
