//! The command tips: how the nodes of a cluster share a command (<https://redis.io/docs/latest/develop/reference/command-tips/>).

/// The tips of a command that the table does not have; empty if the server gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tips {
    /// Which nodes are asked.
    pub request: Option<RequestPolicy>,
    /// How their replies are merged.
    pub response: Option<ResponsePolicy>,
}

/// Which nodes are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPolicy {
    /// Also the replicas, which repeat what their primaries do.
    AllNodes,
    /// Every primary.
    AllShards,
    /// Cut up by the slots of its keys.
    MultiShard,
    /// In a way of its own.
    Special,
}

/// How their replies are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponsePolicy {
    /// The first that is no error.
    OneSucceeded,
    /// The first, if none is an error.
    AllSucceeded,
    /// Each bit or number is 1 only if it is in all.
    And,
    /// Each bit or number is 1 if it is in any.
    Or,
    /// The lowest number.
    Min,
    /// The highest number.
    Max,
    /// The sum of the numbers.
    Sum,
    /// In a way of its own.
    Special,
}

impl Tips {
    /// Takes in one tip; others than about nodes mean nothing here.
    pub(super) fn note(&mut self, tip: &[u8]) {
        match tip {
            b"request_policy:all_nodes" => self.request = Some(RequestPolicy::AllNodes),
            b"request_policy:all_shards" => self.request = Some(RequestPolicy::AllShards),
            b"request_policy:multi_shard" => self.request = Some(RequestPolicy::MultiShard),
            b"response_policy:one_succeeded" => self.response = Some(ResponsePolicy::OneSucceeded),
            b"response_policy:all_succeeded" => self.response = Some(ResponsePolicy::AllSucceeded),
            b"response_policy:agg_logical_and" => self.response = Some(ResponsePolicy::And),
            b"response_policy:agg_logical_or" => self.response = Some(ResponsePolicy::Or),
            b"response_policy:agg_min" => self.response = Some(ResponsePolicy::Min),
            b"response_policy:agg_max" => self.response = Some(ResponsePolicy::Max),
            b"response_policy:agg_sum" => self.response = Some(ResponsePolicy::Sum),
            _ if tip.starts_with(b"request_policy:") => self.request = Some(RequestPolicy::Special),
            _ if tip.starts_with(b"response_policy:") => self.response = Some(ResponsePolicy::Special),
            _ => {}
        }
    }
}
