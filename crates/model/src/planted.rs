//! Bugs on purpose, to show that the simulator's checkers find them. Without the feature `planted` none of this is
//! compiled in: [`is`] is `false` and the hooks fold away.

/// A bug that may be planted. Each hook in the code names one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// The journal's blocks are written but not synced before they count as durable.
    ConfirmBeforeSync = 1,
    /// Settlements stay in memory.
    AckNotJournalled,
    /// Recovery does not look at the checksums of frames.
    TornTailAccepted,
    /// What is requeued comes back last first.
    RequeueOrderBroken,
    /// A segment's file is removed before the settlements that made it needless are durable.
    SegmentRemovedEarly,
    /// A checkpoint is written before the journal is durable up to its position.
    CheckpointBeforeDurable,
    /// A record of several logs that is carried forward in the journal forgets one of them.
    CarryLosesTarget,
    /// The journal is cut although records still lie in the part that goes.
    CutTooFar,
    /// What was handed out is not noted in the journal.
    DeliveryNotNoted,
    /// A failed write of the journal counts as done.
    FailureIgnored,
    /// The frames of a transaction do not belong together.
    TransactionTorn,
    /// A new binding is not entered into the catalog.
    BindingNotRecorded,
    /// A producer's batch that was appended before is appended again.
    BatchRepeated,
    /// Offsets that a group commits stay in memory.
    OffsetsNotRecorded,
    /// What a transaction has aborted is shown as if it were committed.
    AbortShown,
    /// Compaction drops the newest record of a key with the others.
    NewestDropped,
    /// A batch is answered before it is synced.
    BatchBeforeSync,
    /// Readers are shown what is not durable.
    UnsyncedShown,
    /// Readers of committed records are shown those of transactions that are not decided.
    OpenShown,
    /// A restart forgets what producers wrote before the checkpoint.
    ProducerForgotten,
    /// A commit of offsets is answered before it is synced.
    OffsetsBeforeSync,
    /// A transaction's markers are entered into the logs, and its outcome is not into the catalog.
    HalfDecided,
    /// A producer's new epoch is not entered into the catalog.
    EpochNotRecorded,
    /// Offsets of a transaction count before it is committed.
    OffsetsUndecided,
    /// A group's new generation is not entered into the catalog.
    GenerationNotRecorded,
    /// A batch that compaction writes anew is not compressed, and says that it is.
    PackedOtherwise,
    /// The deletion of a topic is not entered into the catalog.
    DeletionNotRecorded,
    /// What groups have committed for a topic stays when it is deleted.
    OffsetsOutliveTopic,
    /// The answers of a fetch session begin with the same partition for ever.
    TurnKept,
    /// A checkpoint that is written in turns says that it was begun where it ended.
    CheckpointMissesChange,
}

impl Bug {
    pub const ALL: [Bug; 30] = [
        Bug::ConfirmBeforeSync,
        Bug::AckNotJournalled,
        Bug::TornTailAccepted,
        Bug::RequeueOrderBroken,
        Bug::SegmentRemovedEarly,
        Bug::CheckpointBeforeDurable,
        Bug::CarryLosesTarget,
        Bug::CutTooFar,
        Bug::DeliveryNotNoted,
        Bug::FailureIgnored,
        Bug::TransactionTorn,
        Bug::BindingNotRecorded,
        Bug::BatchRepeated,
        Bug::OffsetsNotRecorded,
        Bug::AbortShown,
        Bug::NewestDropped,
        Bug::BatchBeforeSync,
        Bug::UnsyncedShown,
        Bug::OpenShown,
        Bug::ProducerForgotten,
        Bug::OffsetsBeforeSync,
        Bug::HalfDecided,
        Bug::EpochNotRecorded,
        Bug::OffsetsUndecided,
        Bug::GenerationNotRecorded,
        Bug::PackedOtherwise,
        Bug::DeletionNotRecorded,
        Bug::OffsetsOutliveTopic,
        Bug::TurnKept,
        Bug::CheckpointMissesChange,
    ];

    /// The name by which it is chosen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bug::ConfirmBeforeSync => "confirm-before-sync",
            Bug::AckNotJournalled => "ack-not-journalled",
            Bug::TornTailAccepted => "torn-tail-accepted",
            Bug::RequeueOrderBroken => "requeue-order-broken",
            Bug::SegmentRemovedEarly => "segment-removed-early",
            Bug::CheckpointBeforeDurable => "checkpoint-before-durable",
            Bug::CarryLosesTarget => "carry-loses-target",
            Bug::CutTooFar => "cut-too-far",
            Bug::DeliveryNotNoted => "delivery-not-noted",
            Bug::FailureIgnored => "failure-ignored",
            Bug::TransactionTorn => "transaction-torn",
            Bug::BindingNotRecorded => "binding-not-recorded",
            Bug::BatchRepeated => "batch-repeated",
            Bug::OffsetsNotRecorded => "offsets-not-recorded",
            Bug::AbortShown => "abort-shown",
            Bug::NewestDropped => "newest-dropped",
            Bug::BatchBeforeSync => "batch-before-sync",
            Bug::UnsyncedShown => "unsynced-shown",
            Bug::OpenShown => "open-shown",
            Bug::ProducerForgotten => "producer-forgotten",
            Bug::OffsetsBeforeSync => "offsets-before-sync",
            Bug::HalfDecided => "half-decided",
            Bug::EpochNotRecorded => "epoch-not-recorded",
            Bug::OffsetsUndecided => "offsets-undecided",
            Bug::GenerationNotRecorded => "generation-not-recorded",
            Bug::PackedOtherwise => "packed-otherwise",
            Bug::DeletionNotRecorded => "deletion-not-recorded",
            Bug::OffsetsOutliveTopic => "offsets-outlive-topic",
            Bug::TurnKept => "turn-kept",
            Bug::CheckpointMissesChange => "checkpoint-misses-change",
        }
    }

    /// The bug of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

#[cfg(feature = "planted")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// From now on this bug is in the whole process, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::Relaxed);
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether this bug is planted: never, in a build without the feature.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}
