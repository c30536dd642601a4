//! The writer (decide, fold, chain, insert, commit), compared with a bare INSERT of the same rows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    load,
    scratch::Scratch,
    table::{Row, median},
};
use crate::{
    domain::{
        command::{Admit, Command, Complete},
        event::{ContextUse, Latency, Usage},
        ids::{EngineId, Position},
        policy::Policy,
    },
    embed::{Embedder, hashing},
    engine::{Engines, Parts, Settings},
    lifecycle::Tasks,
    llm::{Llm, Stub},
    store::{
        Content, Record, Store,
        keys::Column,
        replay,
        subject::{Directory, Subject},
        writer::{
            Actor, Limits, Outcome, Proposal, Sealed, WriteError, Writer, prompt_hmac, writer,
        },
    },
};

/// Events per batch: 64 concurrent clients, and the maximum batch of a server.
const BATCHES: [usize; 2] = [64, 256];
/// Number of full batches in flight.
const IN_FLIGHT: usize = 16;
const ROUNDS: usize = 21;

pub(super) async fn run(scratch: &Scratch) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in BATCHES {
        rows.push(measured(scratch, batch).await?);
    }
    Ok(rows)
}

async fn measured(scratch: &Scratch, batch: usize) -> anyhow::Result<Row> {
    let bench = Bench::new(scratch, batch).await?;
    let raw: EngineId = format!("bench-{}-raw-{batch}", std::process::id()).parse()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = bench.writer.view().state.position;
        let elapsed = bench.round().await?;
        // the rhythm appends events in addition to those of the steps
        let events = bench.writer.view().state.position - before;
        ours.push(events as f64 / elapsed.as_secs_f64());
        let count = u32::try_from(events)?;
        let rows = scratch.store.read_for_audit(&bench.engine, before, count).await?;
        // in a task, like the writer
        let store = scratch.store.clone();
        let inserting = Handle::current().spawn(inserted(store, raw.clone(), rows));
        bare.push(inserting.await??);
    }
    let row = Row::new(
        format!("append through the writer, batches of {batch}"),
        median(ours),
        "events/s",
    );
    Ok(row.limit("raw batched INSERT", median(bare)))
}

async fn inserted(
    store: Store,
    engine: EngineId,
    rows: Vec<(Record, Option<Content>)>,
) -> anyhow::Result<f64> {
    let mut elapsed = Duration::ZERO;
    for batch in rows.chunk_by(|(one, _), (next, _)| one.recorded_at == next.recorded_at) {
        let records: Vec<Record> = batch.iter().map(|(record, _)| record.clone()).collect();
        let contents = batch.iter().filter_map(|(r, content)| Some((r.position, content.clone()?)));
        let contents: Vec<(Position, Content)> = contents.collect();
        let started = Instant::now();
        store.probe_insert(&engine, &records, &contents).await?;
        elapsed += started.elapsed();
    }
    Ok(rows.len() as f64 / elapsed.as_secs_f64())
}

struct Bench {
    batch: usize,
    engine: EngineId,
    writer: Writer,
    subject: Arc<Subject>,
}

impl Bench {
    async fn new(scratch: &Scratch, batch: usize) -> anyhow::Result<Self> {
        let engine: EngineId = format!("bench-{}-append-{batch}", std::process::id()).parse()?;
        let tasks = Tasks::new(Handle::current());
        let store = scratch.store.clone();
        let key = Arc::clone(&scratch.key);
        let queue = IN_FLIGHT * batch;
        let limits = Limits { queue, batch_events: batch, ..Limits::default() };
        let parts = Parts {
            store: store.clone(),
            replica: store.replica(),
            content_key: Arc::clone(&key),
            llm: Llm::stub(Stub::default()),
            embedder: Embedder::default(),
            metrics: Arc::default(),
        };
        Engines::new(parts, Settings::default(), tasks.clone())
            .create(&engine, Policy::default(), None, "bench")
            .await?;
        let row = store.engine(&engine).await?;
        let row = row.ok_or_else(|| anyhow::anyhow!("the engine is missing"))?;
        let (index_key, _) = key.unwrap_index_key(&row)?;
        let directory = Arc::new(Directory::new(engine.clone(), Arc::clone(&key), index_key));
        let subject = Arc::new(directory.make("bench", crate::ids::subject_ref())?);
        let folder = replay::replay(&store, &key, &engine, u64::MAX, &mut |_| {}).await?;
        let made = writer(engine.clone(), store, directory, (folder, None), limits);
        let (writer, task) = made.ok_or_else(|| anyhow::anyhow!("the engine is empty"))?;
        tasks.spawn("writer", task.run());
        let mut bench = Self { batch, engine, writer, subject };
        bench.introduce().await?;
        Ok(bench)
    }

    /// Records the subject: a new subject is looked up under the lock, a known one is not.
    async fn introduce(&mut self) -> anyhow::Result<()> {
        let outcome = self.writer.propose(self.admit(0)?).await?;
        let Outcome::Committed(committed) = outcome else { anyhow::bail!("a duplicate") };
        let subject = committed.subject.filter(|subject| subject.fresh.is_none());
        self.subject = subject.ok_or_else(|| anyhow::anyhow!("the subject is still unknown"))?;
        Ok(())
    }

    /// Admits the steps in flight, then completes them. Sealing is not part of the writer and is not
    /// measured.
    async fn round(&self) -> anyhow::Result<Duration> {
        let commands = IN_FLIGHT * self.batch;
        let admits = (0..commands).map(|n| self.admit(n)).collect::<anyhow::Result<Vec<_>>>()?;
        let (steps, admitting) = self.write(admits).await?;
        let completes = steps.into_iter().map(|step| self.complete(step));
        let (_, completing) = self.write(completes.collect::<anyhow::Result<Vec<_>>>()?).await?;
        Ok(admitting + completing)
    }

    async fn write(&self, proposals: Vec<Proposal>) -> anyhow::Result<(Vec<u64>, Duration)> {
        let started = Instant::now();
        let submitted = proposals.into_iter().map(|proposal| self.writer.submit(proposal));
        let mut submitted = submitted.collect::<Result<Vec<_>, _>>()?;
        // await only the last: awaiting each would wake this thread for each
        let last = submitted.pop().ok_or_else(|| anyhow::anyhow!("no proposal was submitted"))?;
        let last = last.await?;
        let elapsed = started.elapsed();
        let mut steps = Vec::with_capacity(submitted.len() + 1);
        for mut answered in submitted {
            steps.push(step_of(answered.try_recv()?)?);
        }
        steps.push(step_of(last)?);
        Ok((steps, elapsed))
    }

    fn admit(&self, n: usize) -> anyhow::Result<Proposal> {
        let text = load::prompt(0, n);
        let admit = Admit {
            caller_score: Some(0.9),
            route: "/v1/generate".to_owned(),
            prompt_chars: text.len(),
            prompt_tokens: Some(3),
            prompt_hmac: prompt_hmac(&self.subject.key, &[0; 32]),
            timeout: 60_000_000,
            grace: 60_000_000,
            ..Admit::of(self.subject.subject_ref)
        };
        self.sealed(Command::Admit(Box::new(admit)), text.as_bytes(), None)
    }

    fn complete(&self, step: u64) -> anyhow::Result<Proposal> {
        let text = load::prompt(1, step as usize);
        let vector = hashing::vector(&text, Policy::default().dimension)?;
        let bytes = vector.to_bytes();
        let complete = Complete {
            step,
            provider: "bench".to_owned(),
            model: "bench".to_owned(),
            usage: Usage::default(),
            finish_reason: "stop".to_owned(),
            latency: Latency::default(),
            attempts: 1,
            calls: Vec::new(),
            price: None,
            context: ContextUse::default(),
            confidence: 1.0,
            looping: false,
            cut: false,
            forgo: None,
            vector: Some(vector),
        };
        self.sealed(Command::Complete(Box::new(complete)), text.as_bytes(), Some(&bytes))
    }

    fn sealed(
        &self,
        command: Command,
        text: &[u8],
        vector: Option<&[u8]>,
    ) -> anyhow::Result<Proposal> {
        let id = crate::ids::command_id();
        let seal = |column, plain| self.subject.key.seal(id, column, plain);
        let content = Sealed::new(Content {
            sealed: seal(Column::Text, text)?,
            vector: vector.map(|plain| seal(Column::Vector, plain)).transpose()?,
        });
        let actor = Actor::Subject(Arc::clone(&self.subject));
        Ok(Proposal {
            subject: Some(Arc::clone(&self.subject)),
            content: Some(content),
            ..Proposal::of_engine(id, command, actor)
        })
    }
}

fn step_of(outcome: Result<Outcome, WriteError>) -> anyhow::Result<u64> {
    let Outcome::Committed(committed) = outcome? else { anyhow::bail!("a duplicate") };
    let step = committed.events.first().and_then(|(envelope, _)| envelope.step);
    step.ok_or_else(|| anyhow::anyhow!("an event without a step"))
}
