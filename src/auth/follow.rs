//! The managed keys follow the server's own log: as this process writes it, and as others do.

use std::sync::Arc;

use tokio::sync::watch;

use super::Authenticator;
use crate::{lifecycle::Tasks, store::writer::View};

impl Authenticator {
    /// Takes the keys of the server's own log, now and whenever it changes, until the server stops.
    /// What other replicas write is seen as soon as this one folds it.
    pub fn follow(self: &Arc<Self>, mut views: watch::Receiver<Arc<View>>, tasks: &Tasks) {
        self.take(&Arc::clone(&views.borrow_and_update()));
        let (auth, stop) = (Arc::clone(self), tasks.stop().clone());
        tasks.spawn("keys", async move {
            loop {
                tokio::select! {
                    () = stop.soft() => return,
                    changed = views.changed() => if changed.is_err() { return },
                }
                let view = Arc::clone(&views.borrow_and_update());
                auth.take(&view);
            }
        });
    }

    /// Takes the keys of a state of the server's own log, where keys are taken. Who has written it
    /// calls this before answering: what is revoked is refused from then on.
    pub fn take(&self, view: &View) {
        if let Some(keys) = &self.keys {
            let managed = &view.state.keys;
            keys.manage(managed.changed(), managed.iter());
        }
    }
}
