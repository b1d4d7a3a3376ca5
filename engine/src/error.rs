//! Everything that can go wrong in the engine, in words that say what to do.

use std::fmt;

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// A file could not be read: absent, shorter than expected, or refused by the server.
    Read {
        /// Name of the file in the case.
        file: String,
        /// What happened.
        message: String,
    },
    /// A file could not be written.
    Write {
        /// Name of the file.
        file: String,
        /// What happened.
        message: String,
    },
    /// A file is not what its name says.
    Malformed {
        /// Name of the file in the case.
        file: String,
        /// What is wrong, naming the tensor or field.
        message: String,
    },
    /// A tensor the class needs is missing or has another shape or type.
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// `config.json` asks for something the class does not know.
    Config {
        /// Name of the field.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// An input of the case is missing or has the wrong shape or type.
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// This device or build cannot do what was asked; `message` says what is missing.
    Unsupported {
        /// What is missing.
        message: String,
    },
    /// The GPU refused or failed.
    Device {
        /// What was being done.
        during: String,
        /// What the device said.
        message: String,
    },
    /// The GPU is gone for good: its process died, its driver was reset or it was taken away.
    Lost {
        /// What was being done.
        during: String,
        /// What the browser or the driver said of it.
        message: String,
    },
}

impl Error {
    /// Shorthand for [`Error::Malformed`].
    pub fn malformed(file: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Malformed { file: file.into(), message: message.into() }
    }

    /// Shorthand for [`Error::Tensor`].
    pub fn tensor(name: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Tensor { name: name.into(), message: message.into() }
    }

    /// Shorthand for [`Error::Config`].
    pub fn config(field: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Config { field: field.into(), message: message.into() }
    }

    /// Shorthand for [`Error::Input`].
    pub fn input(name: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Input { name: name.into(), message: message.into() }
    }

    /// Shorthand for [`Error::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::Unsupported { message: message.into() }
    }

    /// Shorthand for [`Error::Device`].
    pub fn device(during: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Device { during: during.into(), message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { file, message } => write!(f, "cannot read {file}: {message}"),
            Error::Write { file, message } => write!(f, "cannot write {file}: {message}"),
            Error::Malformed { file, message } => write!(f, "{file} is malformed: {message}"),
            Error::Tensor { name, message } => write!(f, "tensor {name}: {message}"),
            Error::Config { field, message } => write!(f, "config.json, {field}: {message}"),
            Error::Input { name, message } => write!(f, "input {name}: {message}"),
            Error::Unsupported { message } => write!(f, "unsupported here: {message}"),
            Error::Device { during, message } => {
                write!(f, "the device failed in {during}: {message}")
            }
            Error::Lost { during, message } => {
                write!(f, "the GPU device was lost in {during}: {message}")
            }
        }
    }
}

impl std::error::Error for Error {}
