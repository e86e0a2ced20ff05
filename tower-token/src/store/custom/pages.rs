//! What is found by going through the keys of a table.

use std::future::Future;

use super::token::{Kind, SealedToken, TokenKey};
use crate::clock::Timestamp;
use crate::store::contract::byte_store::{Group, Row, RowKey, StoreError, StoreErrorKind};

/// How many keys are asked for at once.
const PAGE: usize = 500;

type Keys = Vec<(TokenKey, Option<Timestamp>)>;

/// What both kinds of custom stores can be asked.
pub(super) trait Table: Send + Sync {
    fn find(
        &self,
        key: &TokenKey,
    ) -> impl Future<Output = Result<Option<SealedToken>, StoreError>> + Send;

    fn page(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> impl Future<Output = Result<Keys, StoreError>> + Send;
}

/// The keys of a table, page by page.
pub(super) struct Pages<'a, T> {
    table: &'a T,
    after: Option<TokenKey>,
}

impl<'a, T: Table> Pages<'a, T> {
    pub(super) fn all(table: &'a T) -> Self {
        Self::after(table, None)
    }

    fn after(table: &'a T, after: Option<TokenKey>) -> Self {
        Self { table, after }
    }

    /// The next keys; none at the end.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Keys, StoreError> {
        let page = self.table.page(self.after.as_ref(), limit).await?;
        let mut last = self.after.as_ref();
        for (key, _) in &page {
            if last.is_some_and(|last| last >= key) {
                let message = "the custom store's `keys` are not in order, or do not begin \
                               after the one that was given";
                return Err(StoreError::new(StoreErrorKind::Damaged, message));
            }
            last = Some(key);
        }
        self.after = last.cloned();
        Ok(page)
    }
}

pub(super) async fn load<T: Table>(table: &T, key: &RowKey) -> Result<Option<Row>, StoreError> {
    let found = table.find(&TokenKey::of(key, Kind::Row)).await?;
    Ok(found.map(SealedToken::into_row))
}

pub(super) async fn scan<T: Table>(
    table: &T,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<(RowKey, Row)>, StoreError> {
    let after = after.map(|key| TokenKey::of(key, Kind::Row));
    let (mut pages, mut rows) = (Pages::after(table, after), Vec::new());
    // A page of marks, or of rows that have gone, is not the end.
    while rows.len() < limit {
        let page = pages.next((limit - rows.len()).min(PAGE)).await?;
        if page.is_empty() {
            break;
        }
        for (key, _) in page {
            let Some((row_key, Kind::Row)) = key.row() else {
                continue;
            };
            let found = table.find(&key).await?;
            rows.extend(found.map(|token| (row_key, token.into_row())));
        }
    }
    rows.truncate(limit);
    Ok(rows)
}

pub(super) async fn list<T: Table>(
    table: &T,
    group: Group,
) -> Result<Vec<(RowKey, Row)>, StoreError> {
    let mut pages = Pages::after(table, TokenKey::before(group));
    let mut rows = Vec::new();
    loop {
        let page = pages.next(PAGE).await?;
        if page.is_empty() {
            return Ok(rows);
        }
        for (key, _) in page {
            match key.row() {
                Some((row_key, _)) if row_key.group() != group => return Ok(rows),
                Some((row_key, Kind::Row)) => {
                    let found = table.find(&key).await?;
                    rows.extend(found.map(|token| (row_key, token.into_row())));
                }
                _ => {}
            }
        }
    }
}

/// Those of a page that are due.
pub(super) fn due(page: Keys, now: Timestamp) -> impl Iterator<Item = (TokenKey, RowKey, Kind)> {
    page.into_iter()
        .filter(move |(_, due)| due.is_some_and(|due| due <= now))
        .filter_map(|(key, _)| {
            let (row_key, kind) = key.row()?;
            Some((key, row_key, kind))
        })
}

/// How many keys a search for what is due takes at once.
pub(super) const DUE_PAGE: usize = PAGE;
