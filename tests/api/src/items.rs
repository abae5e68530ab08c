//! The items of a crate, a line each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Result;
use crate::render::{Paths, Render, flag, last_word, list, text, unknown, variant};

/// The auto traits that a program can name.
const AUTO: [&str; 5] = ["Send", "Sync", "Unpin", "UnwindSafe", "RefUnwindSafe"];
/// What a derive adds and nobody can use.
const HIDDEN: &str = "StructuralPartialEq";

/// The API of a crate.
pub(crate) fn write(krate: &Value, public: &Paths) -> Result<String> {
    let render = Render { krate, public };
    let mut writer = Writer { render, lines: Vec::new(), written: BTreeSet::new() };
    let root = writer.item(&krate["root"])?;
    writer.module(root, text(&root["name"])?)?;
    writer.foreign_impls()?;
    let mut all = String::new();
    for line in writer.lines {
        all += &line;
        all.push('\n');
    }
    Ok(all)
}

struct Writer<'a> {
    render: Render<'a>,
    lines: Vec<String>,
    /// The implementations that stand with their type.
    written: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    fn item(&self, id: &Value) -> Result<&'a Value> {
        self.render.krate["index"].get(id.to_string()).ok_or_else(|| format!("item {id} is missing"))
    }

    fn module(&mut self, module: &'a Value, path: &str) -> Result<()> {
        self.lines.push(format!("{}mod {path}", attributes(module)?));
        let mut items = Vec::new();
        for id in list(&module["inner"]["module"]["items"])? {
            let item = self.item(id)?;
            let (kind, inner) = variant(&item["inner"])?;
            let name = text(if kind == "use" { &inner["name"] } else { &item["name"] })?;
            items.push((kind == "module", format!("{path}::{name}"), item));
        }
        items.sort_by(|(a_module, a, _), (b_module, b, _)| (a_module, a).cmp(&(b_module, b)));
        for (_, path, item) in items {
            self.one(item, &path)?;
        }
        Ok(())
    }

    fn one(&mut self, item: &'a Value, path: &str) -> Result<()> {
        let (kind, inner) = variant(&item["inner"])?;
        let attributes = attributes(item)?;
        if !matches!(kind, "module" | "use") {
            let known = self.render.path(&item["id"], &item["name"])?;
            if known != path {
                self.lines.push(format!("use {known} as {path}"));
                return Ok(());
            }
        }
        let line = match kind {
            "module" => return self.module(item, path),
            "use" => return self.import(inner, path),
            "struct" | "union" | "enum" => return self.composite(kind, item, path),
            "trait" => return self.with_items(item, path),
            "function" => self.render.function(inner, path)?,
            "constant" => {
                format!("const {path}: {}{}", self.render.ty(&inner["type"])?, value(&inner["const"]))
            }
            "static" => {
                let mutable = if flag(&inner["is_mutable"]) { "mut " } else { "" };
                format!("static {mutable}{path}: {}", self.render.ty(&inner["type"])?)
            }
            "type_alias" => {
                let generics = self.render.generic_params(&inner["generics"]["params"])?;
                format!("type {path}{generics} = {}", self.render.ty(&inner["type"])?)
            }
            "macro" => {
                format!("macro {path}: {}", text(inner)?.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            _ => return Err(unknown("item", item)),
        };
        self.lines.push(attributes + &line);
        Ok(())
    }

    /// What another place defines: as a line if that place is public or another crate, else as if it were here.
    fn import(&mut self, import: &'a Value, path: &str) -> Result<()> {
        if flag(&import["is_glob"]) {
            return Err(unknown("import", import));
        }
        let source = self.render.path(&import["id"], &import["source"])?;
        match self.render.krate["index"].get(import["id"].to_string()) {
            Some(item) if source == path => self.one(item, path),
            _ => {
                self.lines.push(format!("use {source} as {path}"));
                Ok(())
            }
        }
    }

    fn composite(&mut self, kind: &str, item: &'a Value, path: &str) -> Result<()> {
        let inner = &item["inner"][kind];
        let generics = self.render.generic_params(&inner["generics"]["params"])?;
        let clause = self.render.where_clause(&inner["generics"])?;
        let mut head = format!("{}{kind} {path}{generics}", attributes(item)?);
        let mut fields = Vec::new();
        match kind {
            "struct" => match variant(&inner["kind"])? {
                ("tuple", ids) => head += &self.tuple(ids)?,
                ("plain", plain) => fields = self.fields(plain)?,
                _ => {}
            },
            "union" => fields = self.fields(inner)?,
            _ => {}
        }
        self.lines.push(head + &clause);
        for field in fields {
            self.lines.push(format!("    {path}.{field}"));
        }
        if kind == "enum" {
            for id in list(&inner["variants"])? {
                self.variant(self.item(id)?, path)?;
            }
        }
        self.impls(list(&inner["impls"])?, &item["id"], path)
    }

    /// The public fields, and whether there are others.
    fn fields(&self, inner: &Value) -> Result<Vec<String>> {
        let mut fields = Vec::new();
        for id in list(&inner["fields"])? {
            let field = self.item(id)?;
            let ty = self.render.ty(&field["inner"]["struct_field"])?;
            fields.push(format!("{}{}: {ty}", attributes(field)?, text(&field["name"])?));
        }
        if flag(&inner["has_stripped_fields"]) && !fields.is_empty() {
            fields.push("..".to_owned());
        }
        Ok(fields)
    }

    fn tuple(&self, ids: &Value) -> Result<String> {
        let mut types = Vec::new();
        for id in list(ids)? {
            types.push(if id.is_null() {
                "_".to_owned()
            } else {
                self.render.ty(&self.item(id)?["inner"]["struct_field"])?
            });
        }
        Ok(format!("({})", types.join(", ")))
    }

    fn variant(&mut self, item: &Value, path: &str) -> Result<()> {
        let inner = &item["inner"]["variant"];
        let mut line = format!("    {}{path}::{}", attributes(item)?, text(&item["name"])?);
        match variant(&inner["kind"])? {
            ("tuple", ids) => line += &self.tuple(ids)?,
            ("struct", plain) => line += &format!(" {{ {} }}", self.fields(plain)?.join(", ")),
            _ => {}
        }
        if let Some(value) = inner["discriminant"]["value"].as_str() {
            line += &format!(" = {value}");
        }
        self.lines.push(line);
        Ok(())
    }

    fn with_items(&mut self, item: &'a Value, path: &str) -> Result<()> {
        let inner = &item["inner"]["trait"];
        let bounds = self.render.bounds(&inner["bounds"])?;
        let mut head = attributes(item)?;
        head += if flag(&inner["is_unsafe"]) { "unsafe trait " } else { "trait " };
        head += path;
        head += &self.render.generic_params(&inner["generics"]["params"])?;
        if !bounds.is_empty() {
            head += &format!(": {bounds}");
        }
        head += &self.render.where_clause(&inner["generics"])?;
        if !flag(&inner["is_dyn_compatible"]) {
            head += " (not for dyn)";
        }
        self.lines.push(head);
        let mut items = Vec::new();
        for id in list(&inner["items"])? {
            items.push(self.associated(self.item(id)?, path, true)?);
        }
        items.sort();
        self.lines.extend(items.into_iter().map(|(_, line)| format!("    {line}")));
        Ok(())
    }

    /// What stands in a trait or an implementation: its name and its line.
    fn associated(&self, item: &Value, path: &str, in_trait: bool) -> Result<(String, String)> {
        let (kind, inner) = variant(&item["inner"])?;
        let name = text(&item["name"])?.to_owned();
        let path = format!("{path}::{name}");
        let line = match kind {
            "function" => {
                let body = if in_trait && flag(&inner["has_body"]) { " { .. }" } else { "" };
                self.render.function(inner, &path)? + body
            }
            "assoc_const" => {
                // Whether there is a value, in a trait; rustdoc gives no value that could be compared.
                let value = if in_trait && !inner["value"].is_null() { " = .." } else { "" };
                format!("const {path}: {}{value}", self.render.ty(&inner["type"])?)
            }
            "assoc_type" => {
                let bounds = self.render.bounds(&inner["bounds"])?;
                let generics = self.render.generic_params(&inner["generics"]["params"])?;
                let ty = if inner["type"].is_null() {
                    String::new()
                } else {
                    format!(" = {}", self.render.ty(&inner["type"])?)
                };
                let colon = if bounds.is_empty() { "" } else { ": " };
                format!("type {path}{generics}{colon}{bounds}{ty}")
            }
            _ => return Err(unknown("associated item", item)),
        };
        Ok((name, attributes(item)? + &line))
    }

    fn impls(&mut self, ids: &[Value], own: &Value, path: &str) -> Result<()> {
        // By what they are of, so that those of all arguments of a type share a line.
        let mut inherent = BTreeMap::<String, Vec<(String, String)>>::new();
        let mut traits = BTreeMap::<String, Vec<String>>::new();
        let mut auto = Vec::new();
        for id in ids {
            let item = self.item(id)?;
            let inner = &item["inner"]["impl"];
            // rustdoc lists those as well that have the type as an argument.
            let mut of = &inner["for"];
            while let Some(reference) = of.get("borrowed_ref") {
                of = &reference["type"];
            }
            if !inner["blanket_impl"].is_null() || of["resolved_path"]["id"] != *own {
                continue;
            }
            self.written.insert(id.to_string());
            let of = self.render.ty(&inner["for"])?;
            if inner["trait"].is_null() {
                let functions = inherent.entry(self.head(inner, &of)?).or_default();
                for id in list(&inner["items"])? {
                    functions.push(self.associated(self.item(id)?, path, false)?);
                }
                continue;
            }
            let name = self.render.named(&inner["trait"])?;
            let last = last_word(&name).to_owned();
            if AUTO.contains(&last.as_str()) {
                let not = if flag(&inner["is_negative"]) { "!" } else { "" };
                // An `unsafe impl` says the same to a caller as what the compiler found.
                auto.push((last.clone(), format!("{not}{last}{}", self.conditions(inner)?)));
            } else if !flag(&inner["is_synthetic"]) && last != HIDDEN {
                traits.entry(self.head(inner, &of)?).or_default().push(self.implemented(inner, name)?);
            }
        }
        for (head, mut functions) in inherent {
            functions.sort();
            // Else there is nothing to say of it.
            if head != format!("impl {path}") {
                self.lines.push(format!("    {head}"));
            }
            self.lines.extend(functions.into_iter().map(|(_, line)| format!("    {line}")));
        }
        for (head, mut names) in traits {
            names.sort();
            self.lines.push(format!("    {head}: {}", names.join(", ")));
        }
        auto.sort();
        let auto: Vec<_> = AUTO
            .iter()
            .map(|name| {
                let found = auto.iter().find(|(known, _)| known == name);
                found.map_or_else(|| format!("!{name}"), |(_, line)| line.clone())
            })
            .collect();
        self.lines.push(format!("    auto {path}: {}", auto.join(", ")));
        Ok(())
    }

    /// What an implementation is of, without its trait.
    fn head(&self, inner: &Value, of: &str) -> Result<String> {
        let generics = &inner["generics"];
        let params = self.render.generic_params(&generics["params"])?;
        let word = if flag(&inner["is_unsafe"]) { "unsafe impl" } else { "impl" };
        Ok(format!("{word}{params} {of}{}", self.render.where_clause(generics)?))
    }

    /// Under which bounds an auto trait is there.
    fn conditions(&self, inner: &Value) -> Result<String> {
        let generics = &inner["generics"];
        let params = self.render.generic_params(&generics["params"])?;
        let bounds = if params.contains(':') { format!(" with {params}") } else { String::new() };
        Ok(bounds + &self.render.where_clause(generics)?)
    }

    /// A trait with the associated types that the implementation chooses.
    fn implemented(&self, inner: &Value, mut name: String) -> Result<String> {
        let mut types = Vec::new();
        for id in list(&inner["items"])? {
            let item = self.item(id)?;
            if let Some(ty) = item["inner"].get("assoc_type") {
                types.push(format!("{} = {}", text(&item["name"])?, self.render.ty(&ty["type"])?));
            }
        }
        if !types.is_empty() {
            let types = types.join(", ");
            match name.strip_suffix('>') {
                Some(open) => name = format!("{open}, {types}>"),
                None => name += &format!("<{types}>"),
            }
        }
        Ok(name)
    }

    /// Implementations for what no crate of ours defines.
    fn foreign_impls(&mut self) -> Result<()> {
        let mut lines = Vec::new();
        let index = self.render.krate["index"].as_object().ok_or("there is no index")?;
        for (id, item) in index {
            let Some(inner) = item["inner"].get("impl") else { continue };
            if self.written.contains(id) || !inner["blanket_impl"].is_null() || flag(&inner["is_synthetic"]) {
                continue;
            }
            let name = self.render.named(&inner["trait"])?;
            let head = self.head(inner, &self.render.ty(&inner["for"])?)?;
            lines.push(format!("{head}: {}", self.implemented(inner, name)?));
        }
        lines.sort();
        self.lines.append(&mut lines);
        Ok(())
    }
}

/// Those that bind a caller, or a reader of memory.
fn attributes(item: &Value) -> Result<String> {
    let mut words = String::new();
    for attribute in list(&item["attrs"])? {
        match variant(attribute)? {
            ("repr", repr) => words += &format!("#[repr({})] ", representation(repr)?),
            ("non_exhaustive", _) => words += "#[non_exhaustive] ",
            ("must_use", _) => words += "#[must_use] ",
            ("macro_export" | "automatically_derived" | "other", _) => {}
            (key, inner) => words += &format!("#[{key} {}] ", inner.to_string().replace('"', "")),
        }
    }
    if !item["deprecation"].is_null() {
        words += "#[deprecated] ";
    }
    Ok(words)
}

fn representation(repr: &Value) -> Result<String> {
    let mut words = vec![match text(&repr["kind"])? {
        "c" => "C".to_owned(),
        kind => kind.to_owned(),
    }];
    words.extend(repr["int"].as_str().map(str::to_owned));
    for key in ["align", "packed"] {
        words.extend(repr[key].as_u64().map(|bytes| format!("{key}({bytes})")));
    }
    Ok(words.join(", "))
}

/// ` = value` of a constant, where rustdoc knows it.
fn value(constant: &Value) -> String {
    match (constant["value"].as_str(), constant["expr"].as_str()) {
        (Some(value), _) => format!(" = {value}"),
        (None, Some(expr)) if expr != "_" => format!(" = {expr}"),
        _ => String::new(),
    }
}
