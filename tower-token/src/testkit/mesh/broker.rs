//! The institutions that users connect: made up, both of them.

/// An institution that users connect by [`MeshServer`](crate::testkit::MeshServer).
///
/// ```
/// use tower_token::testkit::MeshBroker;
///
/// assert_eq!(MeshBroker::Northwind.broker_type(), "sandbox");
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeshBroker {
    /// Northwind Exchange, of type `sandbox`: two accounts, which share a refresh token.
    Northwind,
    /// Lakeside Brokerage, of a type `lakeside` that no client knows beforehand: one account.
    /// Along with the refresh token it wants the access token, as WeBull and Vanguard do.
    Lakeside,
}

/// An account as its institution shows it.
pub(super) struct Showcase {
    pub(super) name: &'static str,
    pub(super) fund: f64,
    pub(super) cash: f64,
}

impl MeshBroker {
    pub(super) const ALL: [Self; 2] = [Self::Northwind, Self::Lakeside];

    /// What Mesh's API calls it.
    pub fn broker_type(self) -> &'static str {
        match self {
            Self::Northwind => "sandbox",
            Self::Lakeside => "lakeside",
        }
    }

    /// What its users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Northwind => "Northwind Exchange",
            Self::Lakeside => "Lakeside Brokerage",
        }
    }

    pub(super) fn of_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.broker_type() == name)
    }

    pub(super) fn accounts(self) -> &'static [Showcase] {
        match self {
            Self::Northwind => &[
                Showcase {
                    name: "Northwind Spot",
                    fund: 1_250.5,
                    cash: 1_000.25,
                },
                Showcase {
                    name: "Northwind Savings",
                    fund: 320.0,
                    cash: 320.0,
                },
            ],
            Self::Lakeside => &[Showcase {
                name: "Lakeside Individual",
                fund: 87.75,
                cash: 80.0,
            }],
        }
    }

    pub(super) fn wants_access_token(self) -> bool {
        self == Self::Lakeside
    }
}
