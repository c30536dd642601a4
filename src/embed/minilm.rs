//! The sentence transformer all-MiniLM-L6-v2, computed in this process from local files.
//!
//! The text is truncated to 256 tokens and passed through a six-layer BERT; the vector is the mean
//! of its token states, normalised to length 1. In contrast to the built-in embedder it recognises
//! synonyms. A short sentence takes about ten milliseconds of a core, so the computation runs on
//! blocking threads, at most one per core. Texts are computed one by one: padding a batch gains
//! nothing on a CPU, and without padding the mean needs no mask.

use std::{
    fmt, fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};
use tokenizers::{Tokenizer, TruncationParams};

use super::{EmbedError, OpenError, gate::Gate, probe::PROBE};
use crate::domain::{embedders::MINILM_DIMENSION, vector::UnitVector};

/// The maximum number of tokens of a text, including the two markers.
const TOKENS_MAX: usize = 256;

/// The maximum size of a text in bytes; the rest is ignored. 256 tokens of any language fit, except
/// for very long words or runs of white space.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Texts per turn on a core, so that a long list of texts does not block a single text.
const TURN_TEXTS: usize = 16;

/// The maximum number of calls that wait for a core.
const WAITING_MAX: usize = 256;

/// The first components of the probe's vector and their tolerance. They detect different weights of
/// the same shape, which would be a different embedder under the same name.
const PROBE_FIRST: [f32; 4] = [0.043_933_5, 0.058_934_4, 0.048_178_5, 0.077_548_1];
const PROBE_TOLERANCE: f32 = 1e-3;

#[derive(Clone)]
pub(super) struct Minilm {
    model: Arc<Bert>,
    gate: Gate,
}

struct Bert {
    bert: BertModel,
    tokenizer: Tokenizer,
}

impl fmt::Debug for Minilm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Minilm")
    }
}

impl Minilm {
    pub(super) fn load(folder: &Path) -> Result<Self, OpenError> {
        let model = Bert::load(folder)?;
        let weights = folder.join(WEIGHTS);
        let probe = model.embed(PROBE).map_err(|error| other(&weights, error.to_string()))?;
        let near = |(is, must): (&f32, f32)| (is - must).abs() <= PROBE_TOLERANCE;
        if !probe.as_slice().iter().zip(PROBE_FIRST).all(near) {
            let what = "the vector of a known text is wrong";
            return Err(other(&weights, what.to_owned()));
        }
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self { model: Arc::new(model), gate: Gate::new(cores, WAITING_MAX) })
    }

    pub(super) async fn call(&self, mut texts: Vec<String>) -> Result<Vec<UnitVector>, EmbedError> {
        let mut vectors = Vec::with_capacity(texts.len());
        while !texts.is_empty() {
            let turn: Vec<String> = texts.drain(..texts.len().min(TURN_TEXTS)).collect();
            let permit = self.gate.enter().await?;
            let model = Arc::clone(&self.model);
            let computed = tokio::task::spawn_blocking(move || {
                // the permit is held until the computation ends, even if the caller has gone away
                let _permit = permit;
                turn.iter().map(|text| model.embed(text)).collect::<Result<Vec<_>, _>>()
            });
            vectors.extend(computed.await.map_err(|_| EmbedError::Broken)??);
        }
        Ok(vectors)
    }
}

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// The maximum size of a file in bytes; the model's largest file has 91 MB.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

impl Bert {
    fn load(folder: &Path) -> Result<Self, OpenError> {
        let (config_file, bytes) = read(folder, CONFIG)?;
        let config: Config =
            serde_json::from_slice(&bytes).map_err(|e| other(&config_file, e.to_string()))?;
        if config.hidden_size != MINILM_DIMENSION {
            let what = format!("its vectors have {} components", config.hidden_size);
            return Err(other(&config_file, what));
        }
        let (file, bytes) = read(folder, TOKENIZER)?;
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|e| other(&file, e.to_string()))?;
        // the file configures 128 tokens with padding; the model was trained for 256 without
        let truncation = TruncationParams { max_length: TOKENS_MAX, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| other(&file, e.to_string()))?;
        tokenizer.with_padding(None);
        let (file, bytes) = read(folder, WEIGHTS)?;
        let bert = VarBuilder::from_buffered_safetensors(bytes, DTYPE, &Device::Cpu)
            .and_then(|weights| BertModel::load(weights, &config))
            .map_err(|e| other(&file, e.to_string()))?;
        Ok(Self { bert, tokenizer })
    }

    fn embed(&self, text: &str) -> Result<UnitVector, EmbedError> {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let tokens = self.tokenizer.encode_fast(text, true).map_err(|_| EmbedError::Broken)?;
        let mean = self.mean(tokens.get_ids()).map_err(|_| EmbedError::Broken)?;
        Ok(UnitVector::normalise(&mean, MINILM_DIMENSION)?)
    }

    /// The mean of the model's token states.
    fn mean(&self, tokens: &[u32]) -> candle_core::Result<Vec<f32>> {
        let ids = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let kinds = ids.zeros_like()?;
        let states = self.bert.forward(&ids, &kinds, None)?;
        states.mean(1)?.squeeze(0)?.to_vec1()
    }
}

fn read(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), OpenError> {
    let file = folder.join(name);
    let size = fs::metadata(&file).and_then(|about| match about.len() {
        size if size > FILE_BYTES_MAX => Err(io::Error::other("too large")),
        size => Ok(size),
    });
    match size.and_then(|_| fs::read(&file)) {
        Ok(bytes) => Ok((file, bytes)),
        Err(source) => Err(OpenError::Missing { file, source }),
    }
}

fn other(file: &Path, what: String) -> OpenError {
    OpenError::Model { file: file.to_owned(), what }
}
