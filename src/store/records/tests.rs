use super::*;
use crate::testkit::mutate::mutations;

/// A row of damaged values: each column has some of these bytes, or NULL.
struct Junk(Vec<u8>);

impl Junk {
    fn part(&self, column: usize) -> Result<&[u8], sqlx::Error> {
        let part = &self.0[(column * 7).min(self.0.len())..];
        match part.first() {
            Some(first) if first.is_multiple_of(64) => {
                Err(sqlx::Error::ColumnNotFound(column.to_string()))
            }
            _ => Ok(&part[..part.len().min(column * 2 + 8)]),
        }
    }

    fn maybe<T>(
        &self,
        column: usize,
        read: impl Fn(&Self, usize) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, sqlx::Error> {
        if self.0.len().is_multiple_of(3) { Ok(None) } else { read(self, column).map(Some) }
    }
}

impl Columns for Junk {
    fn int(&self, column: usize) -> Result<i64, sqlx::Error> {
        let part = self.part(column)?;
        // includes small numbers, which are plausible versions
        Ok(part.iter().take(1 + part.len() % 8).fold(0, |n, byte| (n << 8) | i64::from(*byte)))
    }

    fn maybe_int(&self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        self.maybe(column, Self::int)
    }

    fn text(&self, column: usize) -> Result<String, sqlx::Error> {
        Ok(String::from_utf8_lossy(self.part(column)?).into_owned())
    }

    fn maybe_text(&self, column: usize) -> Result<Option<String>, sqlx::Error> {
        self.maybe(column, Self::text)
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, sqlx::Error> {
        // hash columns have 32 bytes in most cases
        Ok(if self.0.len().is_multiple_of(4) { self.part(column)?.to_vec() } else { vec![7; 32] })
    }

    fn maybe_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
        self.maybe(column, Self::bytes)
    }

    fn uuid(&self, column: usize) -> Result<Uuid, sqlx::Error> {
        let part = self.part(column)?;
        let bytes = std::array::from_fn(|n| part.get(n).copied().unwrap_or_default());
        Ok(Uuid::from_bytes(bytes))
    }

    fn maybe_uuid(&self, column: usize) -> Result<Option<Uuid>, sqlx::Error> {
        self.maybe(column, Self::uuid)
    }
}

#[test]
fn damaged_rows_are_refused_or_decode() {
    let good: Vec<u8> = (1..=150).collect();
    let (mut refused, mut read) = (0, 0);
    for bytes in mutations(&good, 20_000) {
        let row = Junk(bytes);
        let outcomes = [
            record(&row).is_ok(),
            record_and_vector(&row).is_ok(),
            record_and_content(&row).is_ok(),
            content(&row).is_ok(),
            sealed_content(&row).is_ok(),
            engine(&row).is_ok(),
            engine_id(&row).is_ok(),
            head(&row, 1).is_ok(),
            subject(&row).is_ok(),
            idempotency(&row).is_ok(),
        ];
        read += outcomes.iter().filter(|ok| **ok).count();
        refused += outcomes.iter().filter(|ok| !**ok).count();
    }
    assert!(refused > 1_000 && read > 1_000, "{refused} {read}");
}
