//! Checkpoints of a ledger in Kubernetes: a PrivacyLedgerCheckpoint of the dataset's name, which is replaced by later ones,
//! and PrivacyLedgerCheckpointPiece objects with its content.

use data_encoding::BASE64;
use kube::{
    Api, Client, Error, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta},
    core::PartialObjectMeta,
};
use privatekube_api::{
    DatasetKey, LABEL_DATASET, PrivacyLedgerCheckpoint, PrivacyLedgerCheckpointPiece,
    PrivacyLedgerCheckpointPieceSpec, PrivacyLedgerCheckpointSpec, checkpoint_piece_name, rfc3339,
};
use privatekube_ledger::{Checkpoint, CreateError, Head, StoreError};
use privatekube_policy::Time;
use tokio::time::timeout;

use crate::{
    plain, post_params,
    store::{REQUEST_LIMIT, no_answer, read_object, signed, written},
};

/// The version of the format of a checkpoint's content.
const VERSION: u32 = 1;
/// How many pieces are listed in one request: only their metadata.
const PIECES_PAGE: u32 = 500;

/// The checkpoints of one dataset's ledger.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    heads: Api<PrivacyLedgerCheckpoint>,
    pieces: Api<PrivacyLedgerCheckpointPiece>,
    dataset: String,
}

impl Checkpoints {
    pub(crate) fn new(client: &Client, dataset: &DatasetKey) -> Self {
        Self {
            heads: Api::namespaced(client.clone(), &dataset.namespace),
            pieces: Api::namespaced(client.clone(), &dataset.namespace),
            dataset: dataset.name.clone(),
        }
    }

    /// Reads the published checkpoint. Without a resource version in the request, the API server answers with what is true
    /// when it is asked.
    pub(crate) async fn head(&self) -> Result<Option<Checkpoint>, StoreError> {
        let object = self.object().await?;
        object.map(|object| checkpoint(&object)).transpose()
    }

    async fn object(&self) -> Result<Option<PrivacyLedgerCheckpoint>, StoreError> {
        read_object(&self.heads, &self.dataset, "checkpoint").await
    }

    pub(crate) async fn piece(
        &self,
        checkpoint: &Checkpoint,
        piece: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let name = self.piece_name(checkpoint, piece);
        let object = read_object(&self.pieces, &name, "piece").await?;
        let content = object.map(|object| BASE64.decode(object.spec.content.as_bytes()));
        content
            .transpose()
            .map_err(|error| StoreError::Corrupt(format!("piece {name} of the checkpoint: {error}")))
    }

    pub(crate) async fn create_piece(
        &self,
        checkpoint: &Checkpoint,
        piece: u32,
        content: &[u8],
        namespace_uid: Option<&str>,
    ) -> Result<(), CreateError> {
        let spec = PrivacyLedgerCheckpointPieceSpec {
            dataset: self.dataset.clone(),
            namespace_uid: namespace_uid.map(str::to_owned),
            sequence: signed("sequence", checkpoint.head.sequence)?,
            digest: checkpoint.digest.to_string(),
            piece: i64::from(piece),
            content: BASE64.encode(content),
        };
        let mut object = PrivacyLedgerCheckpointPiece::new(&self.piece_name(checkpoint, piece), spec);
        object.metadata.labels = Some(self.labels());
        match written(self.pieces.create(&post_params(), &object)).await {
            Err(CreateError::Exists) => Ok(()),
            created => created,
        }
    }

    pub(crate) async fn publish(
        &self,
        checkpoint: &Checkpoint,
        namespace_uid: Option<&str>,
    ) -> Result<(), CreateError> {
        let unknown = |error: StoreError| match error {
            StoreError::Unreachable(why) => CreateError::Unknown(why),
            error @ (StoreError::Corrupt(_) | StoreError::Newer { .. }) => {
                CreateError::Refused(error.to_string())
            }
        };
        let published = self.object().await.map_err(unknown)?;
        let sequence = signed("sequence", checkpoint.head.sequence)?;
        if published
            .as_ref()
            .is_some_and(|published| published.spec.sequence >= sequence)
        {
            return Err(CreateError::Exists);
        }
        let spec = PrivacyLedgerCheckpointSpec {
            dataset: self.dataset.clone(),
            namespace_uid: namespace_uid.map(str::to_owned),
            version: i64::from(VERSION),
            sequence,
            hash: checkpoint.head.hash.to_string(),
            time: rfc3339(checkpoint.head.time),
            time_micros: signed("timeMicros", checkpoint.head.time.micros())?,
            digest: checkpoint.digest.to_string(),
            pieces: i64::from(checkpoint.pieces),
        };
        let mut object = PrivacyLedgerCheckpoint::new(&self.dataset, spec);
        object.metadata.labels = Some(self.labels());
        let params = post_params();
        let answer = match published {
            // With its resource version: another writer's checkpoint isn't replaced unseen.
            Some(published) => {
                object.metadata.resource_version = published.metadata.resource_version;
                written(self.heads.replace(&self.dataset, &params, &object)).await
            }
            None => written(self.heads.create(&params, &object)).await,
        };
        match answer {
            // It was published since it was read, at an entry that is yet to be compared.
            Err(CreateError::Exists) => {
                Err(CreateError::Unknown("another was published meanwhile".to_owned()))
            }
            answer => answer,
        }
    }

    pub(crate) async fn remove_pieces_before(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut params = ListParams::default()
            .labels(&format!("{LABEL_DATASET}={}", self.dataset))
            .limit(PIECES_PAGE);
        loop {
            let page = match timeout(REQUEST_LIMIT, self.pieces.list_metadata(&params)).await {
                Ok(page) => page.map_err(|error| StoreError::Unreachable(plain(&error)))?,
                Err(_) => return Err(StoreError::Unreachable(no_answer())),
            };
            for piece in page.items.iter().filter(|piece| {
                self.sequence_of(piece)
                    .is_some_and(|sequence| sequence < checkpoint.head.sequence)
            }) {
                remove(&self.pieces, &piece.name_any()).await?;
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// The entry that the checkpoint of a piece stands at, by the piece's name.
    fn sequence_of(&self, piece: &PartialObjectMeta<PrivacyLedgerCheckpointPiece>) -> Option<u64> {
        let name = piece.metadata.name.as_deref()?;
        let rest = name.strip_prefix(&self.dataset)?.strip_prefix('-')?;
        rest.split('-').next()?.parse().ok()
    }

    fn piece_name(&self, checkpoint: &Checkpoint, piece: u32) -> String {
        let digest = checkpoint.digest.to_string();
        checkpoint_piece_name(&self.dataset, checkpoint.head.sequence, &digest, piece)
    }

    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        [(LABEL_DATASET.to_owned(), self.dataset.clone())].into()
    }
}

/// Deletes an object, if there is one of this name.
pub(crate) async fn remove<K>(api: &Api<K>, name: &str) -> Result<(), StoreError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match timeout(REQUEST_LIMIT, api.delete(name, &DeleteParams::default())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Error::Api(status))) if status.code == 404 => Ok(()),
        Ok(Err(error)) => Err(StoreError::Unreachable(plain(&error))),
        Err(_) => Err(StoreError::Unreachable(no_answer())),
    }
}

fn checkpoint(object: &PrivacyLedgerCheckpoint) -> Result<Checkpoint, StoreError> {
    let ObjectMeta { name, .. } = &object.metadata;
    let name = name.as_deref().unwrap_or_default();
    let spec = &object.spec;
    let wrong = |field: &str, value: &dyn std::fmt::Display, accepted: &str| {
        StoreError::Corrupt(format!(
            "checkpoint {name}: {field} is {value}, and {accepted} is accepted"
        ))
    };
    match u32::try_from(spec.version) {
        Ok(VERSION) => {}
        Ok(version) if version > VERSION => {
            return Err(StoreError::Newer {
                what: format!("checkpoint {name}"),
                version,
                newest: VERSION,
            });
        }
        _ => return Err(wrong("version", &spec.version, "a number from 1")),
    }
    let unsigned = |field: &str, value: i64| {
        u64::try_from(value).map_err(|_| wrong(field, &value, "a number that isn't negative"))
    };
    let hash = |field: &str, value: &str| {
        value
            .parse()
            .map_err(|_| wrong(field, &value, "a hash of 64 hexadecimal digits"))
    };
    Ok(Checkpoint {
        head: Head {
            sequence: unsigned("sequence", spec.sequence)?,
            hash: hash("hash", &spec.hash)?,
            time: Time::from_micros(unsigned("timeMicros", spec.time_micros)?),
        },
        digest: hash("digest", &spec.digest)?,
        pieces: u32::try_from(spec.pieces)
            .map_err(|_| wrong("pieces", &spec.pieces, "a number of 32 bits"))?,
    })
}
