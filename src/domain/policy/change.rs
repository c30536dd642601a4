//! Comparison and change of policies field by field, as JSON trees.

use serde_json::Value;

use super::Policy;

impl Policy {
    /// All fields as JSON, including those that the canonical form omits.
    pub fn tree(&self) -> Result<Value, serde_json::Error> {
        let mut tree = serde_json::to_value(self)?;
        tree["budget"] = serde_json::to_value(&self.budget)?;
        tree["memory"]["mode"] = serde_json::to_value(self.memory.mode)?;
        tree["moral"]["scope"] = serde_json::to_value(self.moral.scope)?;
        tree["moral"]["no_text"] = serde_json::to_value(self.moral.no_text)?;
        tree["context"]["placement"] = serde_json::to_value(self.context.placement)?;
        tree["record"] = serde_json::to_value(self.record)?;
        Ok(tree)
    }

    /// The dotted names of the fields in which two policies differ.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        let (Ok(a), Ok(b)) = (self.tree(), other.tree()) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        collect_differences("", &a, &b, &mut names);
        names
    }

    /// Replaces the fields that the partial policy `changes` contains.
    ///
    /// # Errors
    /// An unknown field or a value of the wrong type.
    pub fn merged(&self, changes: &Value) -> Result<Self, serde_json::Error> {
        let mut value = self.tree()?;
        overlay(&mut value, changes);
        serde_json::from_value(value)
    }

    /// Applies the fields that differ between two versions of the configuration.
    ///
    /// A value set by an operator thus survives a start whose configuration did not change it.
    #[must_use]
    pub fn with_changes(&self, before: &Self, after: &Self) -> Self {
        let values = (self.tree(), before.tree(), after.tree());
        let (Ok(mut current), Ok(before), Ok(after)) = values else { return after.clone() };
        apply_changes(&mut current, &before, &after);
        serde_json::from_value(current).unwrap_or_else(|_| self.clone())
    }
}

fn collect_differences(path: &str, a: &Value, b: &Value, names: &mut Vec<String>) {
    let (Some(left), Some(right)) = (a.as_object(), b.as_object()) else {
        if a != b {
            names.push(path.to_owned());
        }
        return;
    };
    for (key, value) in left {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect_differences(&inner, value, right.get(key).unwrap_or(value), names);
    }
}

fn overlay(base: &mut Value, changes: &Value) {
    match (base.as_object_mut(), changes.as_object()) {
        (Some(base), Some(changes)) => {
            for (key, value) in changes {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ => *base = changes.clone(),
    }
}

fn apply_changes(current: &mut Value, before: &Value, after: &Value) {
    if let (Some(now), Some(old), Some(new)) =
        (current.as_object_mut(), before.as_object(), after.as_object())
    {
        for (key, value) in now {
            if let (Some(old), Some(new)) = (old.get(key), new.get(key)) {
                apply_changes(value, old, new);
            }
        }
    } else if before != after {
        *current = after.clone();
    }
}
