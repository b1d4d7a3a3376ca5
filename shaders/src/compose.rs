//! Resolves includes and conditions of a kernel for one variant.

use std::fmt;

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

/// The text of one variant of a kernel.
pub fn compose(kernel: &str, defines: &[Define]) -> Result<String, ComposeError> {
    let mut out = Composer { defines, enables: String::new(), body: String::new() };
    out.file(kernel)?;
    let mut text = out.enables;
    for (name, value) in defines {
        text.push_str(&format!("const {name}: u32 = {value}u;\n"));
    }
    text.push_str(&out.body);
    Ok(text)
}

struct Composer<'a> {
    defines: &'a [Define],
    enables: String,
    body: String,
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
        let text = crate::source(name).ok_or_else(|| error(0, "no such kernel".to_owned()))?;
        let mut blocks: Vec<Block> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let active = blocks.iter().all(|block| block.active);
            let Some(directive) = line.strip_prefix('#') else {
                if active && line.starts_with("enable ") {
                    self.enables.push_str(line);
                    self.enables.push('\n');
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
        let four = compose("matvec", &[("BITS", 4), ("GROUP", 32), ("WG", 32)]).unwrap();
        assert!(four.contains("0x0F0F0F0Fu"));
        assert!(four.contains("-8.0 * d"));
        assert!(!four.contains("0x03030303u"));
        assert!(four.starts_with("const BITS: u32 = 4u;\n"));
        let subgroups =
            compose("matvec", &[("BITS", 4), ("GROUP", 32), ("WG", 32), ("SUBGROUPS", 1)]).unwrap();
        assert!(subgroups.starts_with("enable subgroups;\n"));
    }

    #[test]
    fn unknown_kernels_are_named() {
        assert_eq!(
            compose("nothing", &[]).unwrap_err().to_string(),
            "nothing.wgsl:0: no such kernel"
        );
    }
}
