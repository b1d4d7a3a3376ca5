//! Resolves includes and conditions of a kernel for one variant.

use std::{borrow::Cow, fmt};

/// A name and its value in one variant.
pub type Define = (&'static str, u32);

/// A kernel or directive that cannot be resolved: a mistake in a `.wgsl` file or in its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeError {
    /// The file.
    pub file: String,
    /// Its line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.wgsl:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for ComposeError {}

/// Who reads the text: browsers want `enable subgroups;` where a kernel uses them, and naga, which
/// knows the built-in functions, refuses the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A browser's compiler.
    Browser,
    /// naga: wgpu on the host, and the check of every text without a browser.
    Naga,
}

impl Dialect {
    /// The dialect of the WebGPU that this program meets.
    pub const HERE: Dialect =
        if cfg!(target_arch = "wasm32") { Dialect::Browser } else { Dialect::Naga };
}

/// The `.wgsl` files: those that are compiled in, or others in their place.
#[derive(Clone, Debug, Default)]
pub struct Files {
    replaced: Vec<(&'static str, Cow<'static, str>)>,
}

impl Files {
    /// The text of a file, by its name without the ending.
    pub fn text(&self, name: &str) -> Option<&str> {
        let replaced = self.replaced.iter().find(|(known, _)| *known == name);
        replaced.map(|(_, text)| text.as_ref()).or_else(|| crate::source(name))
    }

    /// Puts another text in the place of a file: how a test plants a fault.
    pub fn replace(&mut self, name: &'static str, text: impl Into<Cow<'static, str>>) {
        self.replaced.retain(|(known, _)| *known != name);
        self.replaced.push((name, text.into()));
    }

    /// The text of one variant of a kernel.
    pub fn compose(
        &self,
        kernel: &str,
        defines: &[Define],
        dialect: Dialect,
    ) -> Result<String, ComposeError> {
        let mut out = Composer {
            files: self,
            defines,
            dialect,
            enables: String::new(),
            body: String::new(),
            included: Vec::new(),
        };
        out.file(kernel)?;
        let mut text = out.enables;
        for (name, value) in defines {
            text.push_str(&format!("const {name}: u32 = {value}u;\n"));
        }
        text.push_str(&out.body);
        Ok(text)
    }

    /// The files that a variant of a kernel consists of, itself first.
    pub fn of(&self, kernel: &str, defines: &[Define]) -> Result<Vec<String>, ComposeError> {
        let mut out = Composer {
            files: self,
            defines,
            dialect: Dialect::Naga,
            enables: String::new(),
            body: String::new(),
            included: Vec::new(),
        };
        out.file(kernel)?;
        Ok(out.included)
    }
}

/// The text of one variant of a kernel, of the files that are compiled in.
pub fn compose(kernel: &str, defines: &[Define], dialect: Dialect) -> Result<String, ComposeError> {
    Files::default().compose(kernel, defines, dialect)
}

struct Composer<'a> {
    files: &'a Files,
    defines: &'a [Define],
    dialect: Dialect,
    enables: String,
    body: String,
    included: Vec<String>,
}

/// One `#if … #endif` that is open.
struct Block {
    /// Whether the lines of the current branch are kept.
    active: bool,
    /// Whether some branch has been kept already.
    taken: bool,
}

impl Composer<'_> {
    fn file(&mut self, name: &str) -> Result<(), ComposeError> {
        let error = |line, message: String| ComposeError { file: name.to_owned(), line, message };
        let files = self.files;
        let text = files.text(name).ok_or_else(|| error(0, "no such kernel".to_owned()))?;
        self.included.push(name.to_owned());
        let mut blocks: Vec<Block> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let active = blocks.iter().all(|block| block.active);
            let Some(directive) = line.strip_prefix('#') else {
                if active && line.starts_with("enable ") {
                    if self.dialect == Dialect::Browser || line != "enable subgroups;" {
                        self.enables.push_str(line);
                        self.enables.push('\n');
                    }
                } else if active {
                    self.body.push_str(line);
                    self.body.push('\n');
                }
                continue;
            };
            let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
            match word {
                "if" => {
                    let holds = self.holds(rest).map_err(|message| error(line_number, message))?;
                    blocks.push(Block { active: holds, taken: holds });
                }
                "elif" | "else" => {
                    let holds = word == "else"
                        || self.holds(rest).map_err(|message| error(line_number, message))?;
                    let block = blocks
                        .last_mut()
                        .ok_or_else(|| error(line_number, format!("#{word} without #if")))?;
                    block.active = holds && !block.taken;
                    block.taken |= block.active;
                }
                "endif" => {
                    blocks
                        .pop()
                        .ok_or_else(|| error(line_number, "#endif without #if".to_owned()))?;
                }
                "include" if active => {
                    let file = rest.trim().trim_matches('"').trim_end_matches(".wgsl").to_owned();
                    self.file(&file)?;
                }
                "include" => {}
                _ => return Err(error(line_number, format!("unknown directive #{word}"))),
            }
        }
        match blocks.is_empty() {
            true => Ok(()),
            false => Err(error(0, "#if without #endif".to_owned())),
        }
    }

    fn value(&self, name: &str) -> u32 {
        self.defines.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
    }

    fn holds(&self, condition: &str) -> Result<bool, String> {
        let words: Vec<&str> = condition.split_whitespace().collect();
        match words[..] {
            [name] => Ok(self.value(name) != 0),
            [name, operator, number] => {
                let left = self.value(name);
                let right: u32 =
                    number.parse().map_err(|_| format!("{number:?} is not a number"))?;
                match operator {
                    "==" => Ok(left == right),
                    "!=" => Ok(left != right),
                    "<" => Ok(left < right),
                    "<=" => Ok(left <= right),
                    ">" => Ok(left > right),
                    ">=" => Ok(left >= right),
                    _ => Err(format!("unknown operator {operator:?}")),
                }
            }
            _ => Err(format!("cannot read the condition {condition:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_follow_the_definitions() {
        let geometry = [("WG", 32), ("TILE_X", 4), ("TILE_Y", 1)];
        let text = |defines: &[Define], dialect| {
            compose("matvec", &[defines, &geometry].concat(), dialect).unwrap()
        };
        let four = text(&[("BITS", 4), ("GROUP", 32)], Dialect::Browser);
        assert!(four.contains("0x0F0F0F0Fu"));
        assert!(four.contains("ZERO: f32 = 8.0"));
        assert!(!four.contains("0x03030303u"));
        assert!(four.starts_with("const BITS: u32 = 4u;\n"));
        let subgroups = [("BITS", 4), ("GROUP", 32), ("SUBGROUPS", 1)];
        assert!(text(&subgroups, Dialect::Browser).starts_with("enable subgroups;\nconst BITS"));
        assert!(text(&subgroups, Dialect::Naga).starts_with("const BITS"));
    }

    #[test]
    fn unknown_kernels_are_named() {
        assert_eq!(
            compose("nothing", &[], Dialect::Naga).unwrap_err().to_string(),
            "nothing.wgsl:0: no such kernel"
        );
    }

    #[test]
    fn a_file_can_be_replaced() {
        let mut files = Files::default();
        files.replace("grid", "// nothing");
        let text = files.compose("blend", &[("WG", 64)], Dialect::Naga).unwrap();
        assert!(text.contains("// nothing") && !text.contains("grid.x"));
        assert_eq!(files.of("blend", &[]).unwrap(), ["blend", "elements", "grid"]);
    }
}
