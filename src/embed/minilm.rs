//! The sentence transformer all-MiniLM-L6-v2, computed in this process from a local folder.
//!
//! Tokens of the text, at most 256; a BERT of six layers; the mean over all tokens; length 1. Unlike
//! the built-in embedder it knows that a kitten is a cat. One short sentence is some ten milliseconds
//! of a core, so it runs off the threads that serve, on at most as many of them as there are cores.
//! Texts are computed one by one: padding them to one length saves nothing on a CPU, and without
//! padding the mean needs no mask.

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

/// Tokens of a text that count, the two that mark its ends included.
const TOKENS_MAX: usize = 256;

/// Bytes of a text that are looked at. 256 tokens of any language fit; only white space or words
/// without end could reach beyond.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Texts of one turn at a core, so that many texts do not keep one text waiting.
const TURN_TEXTS: usize = 16;

/// Calls that may wait for a core.
const WAITING_MAX: usize = 256;

/// The first numbers of the probe's vector, and how far off they may be: other weights of the same
/// shape would be a different embedder under the same name.
const PROBE_FIRST: [f32; 4] = [0.043_933_5, 0.058_934_4, 0.048_178_5, 0.077_548_1];
const PROBE_TOLERANCE: f32 = 1e-3;

#[derive(Clone)]
pub(super) struct Minilm {
    model: Arc<Model>,
    gate: Gate,
}

struct Model {
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
        let model = Model::load(folder)?;
        let weights = folder.join(WEIGHTS);
        let probe = model.embed(PROBE).map_err(|error| other(&weights, error.to_string()))?;
        let near = |(is, must): (&f32, f32)| (is - must).abs() <= PROBE_TOLERANCE;
        if !probe.as_slice().iter().zip(PROBE_FIRST).all(near) {
            let what = "a known text gets another vector than it should";
            return Err(other(&weights, what.to_owned()));
        }
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self { model: Arc::new(model), gate: Gate::new(cores, WAITING_MAX) })
    }

    pub(super) async fn call(&self, mut texts: Vec<String>) -> Result<Vec<UnitVector>, EmbedError> {
        let mut vectors = Vec::with_capacity(texts.len());
        while !texts.is_empty() {
            let turn: Vec<String> = texts.drain(..texts.len().min(TURN_TEXTS)).collect();
            let pass = self.gate.enter().await?;
            let model = Arc::clone(&self.model);
            let computed = tokio::task::spawn_blocking(move || {
                // the core is taken until this ends, even if nobody waits for it any more
                let _pass = pass;
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

/// Largest file in bytes; the model's own have 91 MB.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

impl Model {
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
        // the file asks for 128 tokens, padded; the model was trained for 256, unpadded
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

    /// What the model makes of each token, on average.
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
