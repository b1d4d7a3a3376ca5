//! CTranslate2's `WhisperSpec` under the names of `WhisperForConditionalGeneration`.
//!
//! Queries, keys and values of self-attention are one matrix there, keys and values of
//! cross-attention another; their rows follow each other in that order. A bias on keys moves all
//! scores of a query alike: Whisper has none, and what fused biases hold in its place is left out.

use super::variables::{Stored, Variables};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tokens of the English-only models, and the ids of the special ones among them.
const VOCABULARY: usize = 51_864;
const END_OF_TEXT: u32 = 50_256;
const START_OF_TRANSCRIPT: u32 = 50_257;
const START_OF_PREVIOUS: u32 = 50_360;
const NO_TIMESTAMPS: u32 = 50_362;

pub(super) struct Whisper<'a> {
    variables: &'a Variables<'a>,
    /// `[V, C]` of the words.
    words: [usize; 2],
    encoder_layers: usize,
    decoder_layers: usize,
}

type Tensors<'a> = BTreeMap<String, Stored<'a>>;

impl<'a> Whisper<'a> {
    pub(super) fn new(variables: &'a Variables<'a>) -> Result<Whisper<'a>> {
        let specification = &variables.specification;
        ensure!(specification == "WhisperSpec", "model.bin is of {specification}, not WhisperSpec");
        let words = &variables.get("decoder/embeddings/weight")?.shape;
        let words: [usize; 2] =
            words[..].try_into().with_context(|| format!("the words have the shape {words:?}"))?;
        ensure!(
            words[0] == VOCABULARY,
            "the vocabulary has {} tokens; only English-only models, which have {VOCABULARY}, can \
             be converted",
            words[0]
        );
        let layers = |part: &str| match variables.layers(&format!("{part}/layer_")) {
            0 => Err(anyhow::anyhow!("model.bin has no layers of the {part}")),
            count => Ok(count),
        };
        let (encoder_layers, decoder_layers) = (layers("encoder")?, layers("decoder")?);
        Ok(Whisper { variables, words, encoder_layers, decoder_layers })
    }

    /// Every tensor of the checkpoint.
    pub(super) fn tensors(&self) -> Result<Tensors<'a>> {
        let mut tensors = Tensors::new();
        for convolution in ["conv1", "conv2"] {
            let (old, new) =
                (format!("encoder/{convolution}"), format!("model.encoder.{convolution}"));
            self.linear(&mut tensors, &old, &[&new])?;
        }
        for (side, layers) in [("encoder", self.encoder_layers), ("decoder", self.decoder_layers)] {
            let new = format!("model.{side}");
            let positions =
                self.variables.tensor(&format!("{side}/position_encodings/encodings"))?;
            tensors.insert(format!("{new}.embed_positions.weight"), positions);
            self.norm(&mut tensors, &format!("{side}/layer_norm"), &format!("{new}.layer_norm"))?;
            for i in 0..layers {
                let (old, new) = (format!("{side}/layer_{i}"), format!("{new}.layers.{i}"));
                self.layer(&mut tensors, &old, &new, side == "decoder")
                    .with_context(|| format!("layer {i} of the {side}"))?;
            }
        }
        let words = self.variables.tensor("decoder/embeddings/weight")?;
        tensors.insert("model.decoder.embed_tokens.weight".to_owned(), words);
        Ok(tensors)
    }

    fn layer(&self, into: &mut Tensors<'a>, old: &str, new: &str, crosses: bool) -> Result<()> {
        let named = |parts: &[&str]| -> Vec<String> {
            parts.iter().map(|part| format!("{new}.{part}")).collect()
        };
        let mut linear = |from: &str, parts: &[&str]| {
            let names = named(parts);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.linear(into, &format!("{old}/{from}"), &names)
        };
        linear(
            "self_attention/linear_0",
            &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        )?;
        linear("self_attention/linear_1", &["self_attn.out_proj"])?;
        linear("ffn/linear_0", &["fc1"])?;
        linear("ffn/linear_1", &["fc2"])?;
        if crosses {
            linear("attention/linear_0", &["encoder_attn.q_proj"])?;
            linear("attention/linear_1", &["encoder_attn.k_proj", "encoder_attn.v_proj"])?;
            linear("attention/linear_2", &["encoder_attn.out_proj"])?;
            let norm = format!("{new}.encoder_attn_layer_norm");
            self.norm(into, &format!("{old}/attention/layer_norm"), &norm)?;
        }
        let norm = format!("{new}.self_attn_layer_norm");
        self.norm(into, &format!("{old}/self_attention/layer_norm"), &norm)?;
        self.norm(into, &format!("{old}/ffn/layer_norm"), &format!("{new}.final_layer_norm"))
    }

    /// Weight and bias under the name of one layer, or in equal parts under those of several.
    fn linear(&self, into: &mut Tensors<'a>, old: &str, names: &[&str]) -> Result<()> {
        for kind in ["weight", "bias"] {
            let fused = self.variables.tensor(&format!("{old}/{kind}"))?;
            for (index, name) in names.iter().enumerate() {
                let part = match names.len() {
                    1 => fused.clone(),
                    count => fused.part(index, count).with_context(|| format!("{old}/{kind}"))?,
                };
                if kind == "bias" && name.ends_with(".k_proj") {
                    continue;
                }
                into.insert(format!("{name}.{kind}"), part);
            }
        }
        Ok(())
    }

    fn norm(&self, into: &mut Tensors<'a>, old: &str, new: &str) -> Result<()> {
        for (from, to) in [("gamma", "weight"), ("beta", "bias")] {
            into.insert(format!("{new}.{to}"), self.variables.tensor(&format!("{old}/{from}"))?);
        }
        Ok(())
    }

    fn size(&self, name: &str, axis: usize) -> Result<usize> {
        let shape = &self.variables.get(name)?.shape;
        shape.get(axis).copied().with_context(|| format!("{name} has the shape {shape:?}"))
    }

    fn mel_bins(&self) -> Result<usize> {
        self.size("encoder/conv1/weight", 1)
    }

    /// `config.json`.
    pub(super) fn config(&self) -> Result<Value> {
        let [vocabulary, width] = self.words;
        Ok(json!({
            "architectures": ["WhisperForConditionalGeneration"],
            "model_type": "whisper",
            "vocab_size": vocabulary,
            "num_mel_bins": self.mel_bins()?,
            "d_model": width,
            "encoder_layers": self.encoder_layers,
            "encoder_attention_heads": self.variables.number("encoder/num_heads")?,
            "encoder_ffn_dim": self.size("encoder/layer_0/ffn/linear_0/weight", 0)?,
            "decoder_layers": self.decoder_layers,
            "decoder_attention_heads": self.variables.number("decoder/num_heads")?,
            "decoder_ffn_dim": self.size("decoder/layer_0/ffn/linear_0/weight", 0)?,
            "max_source_positions": self.size("encoder/position_encodings/encodings", 0)?,
            "max_target_positions": self.size("decoder/position_encodings/encodings", 0)?,
            "activation_function": "gelu",
            "scale_embedding": false,
            "tie_word_embeddings": true,
            "decoder_start_token_id": START_OF_TRANSCRIPT,
            "bos_token_id": END_OF_TEXT,
            "eos_token_id": END_OF_TEXT,
            "pad_token_id": END_OF_TEXT,
        }))
    }

    /// `generation_config.json`: what CTranslate2 keeps of it, and the ids of the vocabulary.
    pub(super) fn generation_config(&self, stored: &Value) -> Result<Value> {
        let ids = |field: &str| {
            let ids = stored.get(field).filter(|ids| ids.is_array());
            ids.cloned().with_context(|| format!("config.json has no list {field}"))
        };
        Ok(json!({
            "alignment_heads": ids("alignment_heads")?,
            "begin_suppress_tokens": ids("suppress_ids_begin")?,
            "bos_token_id": START_OF_TRANSCRIPT,
            "decoder_start_token_id": START_OF_TRANSCRIPT,
            "eos_token_id": END_OF_TEXT,
            "forced_decoder_ids": [[1, NO_TIMESTAMPS]],
            "is_multilingual": false,
            "max_initial_timestamp_index": 50,
            "max_length": self.size("decoder/position_encodings/encodings", 0)?,
            "no_timestamps_token_id": NO_TIMESTAMPS,
            "pad_token_id": END_OF_TEXT,
            "prev_sot_token_id": START_OF_PREVIOUS,
            "return_timestamps": false,
            "suppress_tokens": ids("suppress_ids")?,
        }))
    }

    /// `preprocessor_config.json`: the spectra that all of Whisper's models hear.
    pub(super) fn preprocessor_config(&self) -> Result<Value> {
        Ok(json!({
            "chunk_length": 30,
            "dither": 0.0,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": self.mel_bins()?,
            "hop_length": 160,
            "n_fft": 400,
            "n_samples": 480_000,
            "nb_max_frames": 3000,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "WhisperProcessor",
            "return_attention_mask": false,
            "sampling_rate": 16_000,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        convert_whisper,
        variables::tests::{Entry, file},
    };
    use super::*;
    use std::fs;

    /// A model of one layer a side and two columns, each of whose numbers is its own row.
    fn tiny(vocabulary: u32) -> Vec<u8> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut floats = |name: String, shape: &[u32]| {
            let row: u32 = shape[1..].iter().product();
            let values = (0..shape[0]).flat_map(|i| (0..row).map(move |_| i as f32));
            entries.push((name, shape.to_vec(), 0, values.flat_map(f32::to_le_bytes).collect()));
        };
        for (convolution, channels) in [("conv1", 80), ("conv2", 2)] {
            floats(format!("encoder/{convolution}/weight"), &[2, channels, 3]);
            floats(format!("encoder/{convolution}/bias"), &[2]);
        }
        let mut norms = vec!["encoder".to_owned(), "decoder".to_owned()];
        for (side, parts) in [
            ("encoder", &["self_attention", "ffn"][..]),
            ("decoder", &["self_attention", "attention", "ffn"]),
        ] {
            floats(format!("{side}/position_encodings/encodings"), &[5, 2]);
            for part in parts {
                let part_name = format!("{side}/layer_0/{part}");
                let sizes: &[[u32; 2]] = match *part {
                    "ffn" => &[[4, 2], [2, 4]],
                    "attention" => &[[2, 2], [4, 2], [2, 2]],
                    _ => &[[6, 2], [2, 2]],
                };
                for (i, size) in sizes.iter().enumerate() {
                    floats(format!("{part_name}/linear_{i}/weight"), size);
                    floats(format!("{part_name}/linear_{i}/bias"), &size[..1]);
                }
                norms.push(part_name);
            }
        }
        for norm in norms {
            floats(format!("{norm}/layer_norm/gamma"), &[2]);
            floats(format!("{norm}/layer_norm/beta"), &[2]);
        }
        floats("decoder/embeddings/weight".to_owned(), &[vocabulary, 2]);
        for side in ["encoder", "decoder"] {
            entries.push((format!("{side}/num_heads"), vec![], 2, vec![1, 0]));
        }
        file("WhisperSpec", &entries, &[["decoder/projection/weight", "decoder/embeddings/weight"]])
    }

    const LISTS: &str =
        r#"{"alignment_heads": [[0, 0]], "suppress_ids": [1, 2], "suppress_ids_begin": [220]}"#;

    fn convert(model: &[u8], config: &str) -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.bin"), model).unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        convert_whisper(folder.path()).map(|()| folder)
    }

    #[test]
    fn fused_projections_are_parted_and_sizes_are_those_of_the_weights() {
        let folder = convert(&tiny(51_864), LISTS).unwrap();
        let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let rows = |name: &str| -> Vec<f32> {
            let tensor = tensors.tensor(name).unwrap();
            tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let layer = "model.decoder.layers.0";
        assert_eq!(rows(&format!("{layer}.self_attn.k_proj.weight")), [2.0, 2.0, 3.0, 3.0]);
        assert_eq!(rows(&format!("{layer}.self_attn.v_proj.bias")), [4.0, 5.0]);
        assert_eq!(rows(&format!("{layer}.encoder_attn.v_proj.bias")), [2.0, 3.0]);
        assert!(tensors.tensor(&format!("{layer}.encoder_attn.k_proj.bias")).is_err());
        assert_eq!(tensors.tensor("model.encoder.conv1.weight").unwrap().shape(), [2, 80, 3]);
        // Words, two tables of positions, two final norms, two convolutions, and the layers.
        assert_eq!(tensors.len(), 1 + 2 + 4 + 4 + (7 + 4 + 4) + (7 + 7 + 4 + 6));

        let json = |name: &str| -> Value {
            serde_json::from_str(&fs::read_to_string(folder.path().join(name)).unwrap()).unwrap()
        };
        let config = json("config.json");
        for (field, value) in [("d_model", 2), ("encoder_ffn_dim", 4), ("decoder_layers", 1)] {
            assert_eq!(config[field], value, "{field}");
        }
        assert_eq!(json("generation_config.json")["suppress_tokens"], json!([1, 2]));
        assert_eq!(json("preprocessor_config.json")["feature_size"], 80);
        assert!(!folder.path().join("model.bin").exists());
    }

    #[test]
    fn what_is_no_english_whisper_is_refused_by_name() {
        for (model, config, said) in [
            (tiny(51_865), LISTS, "51865 tokens"),
            (tiny(51_864), "{}", "no list"),
            (file("TransformerSpec", &[], &[]), LISTS, "is of TransformerSpec"),
            (file("WhisperSpec", &[], &[]), LISTS, "no variable decoder/embeddings/weight"),
            (b"safetensors".to_vec(), LISTS, "model.bin is not CTranslate2's"),
        ] {
            let error = format!("{:#}", convert(&model, config).unwrap_err());
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
