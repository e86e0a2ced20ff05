//! The requests of Mesh's API as its published client types them (`@meshconnect/node-api`).

use super::schema::Kind::{Bool, Names, Number, Object, Objects, Text, Texts, Uuid};
use super::schema::{Field, nullable, optional, required};

/// No bound is documented.
const ANY: usize = usize::MAX;

/// `BrokerRefreshTokenRequest`.
pub(super) const REFRESH: &[Field] = &[
    required("type", Text(1, ANY)),
    required("refreshToken", Text(1, ANY)),
    nullable("createNewRefreshToken", Bool),
    nullable("accessToken", Text(0, ANY)),
    nullable("tradeToken", Text(0, ANY)),
    nullable("mfaCode", Text(0, ANY)),
    optional("metadata", Names),
];

/// `BrokerBaseRequest`, of which an account is removed.
pub(super) const REMOVE: &[Field] = &[
    required("authToken", Text(1, ANY)),
    required("type", Text(1, ANY)),
];

/// `PortfolioHoldingsRequest`.
pub(super) const HOLDINGS: &[Field] = &[
    required("authToken", Text(1, ANY)),
    required("type", Text(1, ANY)),
    optional("includeMarketValue", Bool),
];

/// `GetLinkTokenRequest`.
pub(super) const LINK_TOKEN: &[Field] = &[
    required("userId", Text(1, 300)),
    nullable("brokerType", Text(1, ANY)),
    optional("restrictMultipleAccounts", Bool),
    nullable("transferOptions", Object(TRANSFER_OPTIONS)),
    nullable("integrationId", Uuid),
    optional("disableApiKeyGeneration", Bool),
    nullable("verifyWalletOptions", Object(VERIFY_WALLET_OPTIONS)),
    nullable("subClientId", Uuid),
];

/// `LinkTokenTransferOptions`.
const TRANSFER_OPTIONS: &[Field] = &[
    nullable("toAddresses", Objects(TO_ADDRESS)),
    nullable("amountInFiat", Number),
    nullable("transactionId", Text(0, 128)),
    nullable("clientFee", Number),
    nullable("transferType", Text(1, ANY)),
    nullable("fundingOptions", Object(FUNDING_OPTIONS)),
    optional("isInclusiveFeeEnabled", Bool),
    nullable("description", Text(0, 256)),
    nullable("goodsDetails", Objects(GOODS)),
    optional("generatePayLink", Bool),
];

/// `TransferToAddressWithAmount`.
const TO_ADDRESS: &[Field] = &[
    optional("networkId", Uuid),
    nullable("symbol", Text(0, ANY)),
    nullable("address", Text(0, ANY)),
    nullable("addressTag", Text(0, ANY)),
    nullable("amount", Number),
    nullable("displayAmountInFiat", Number),
];

/// `TransferCryptocurrencyFundingOptions`.
const FUNDING_OPTIONS: &[Field] = &[optional("enabled", Bool)];

/// `GoodsDetails`.
const GOODS: &[Field] = &[
    nullable("goodsType", Text(0, ANY)),
    nullable("goodsCategory", Text(0, ANY)),
    nullable("referenceGoodsId", Text(0, ANY)),
    nullable("goodsName", Text(0, ANY)),
    nullable("goodsDetail", Text(0, ANY)),
];

/// `VerifyWalletOptions`.
const VERIFY_WALLET_OPTIONS: &[Field] = &[
    nullable("message", Text(0, ANY)),
    nullable("verificationMethods", Texts),
    nullable("addresses", Texts),
    nullable("networkId", Uuid),
    nullable("networkType", Text(1, ANY)),
];
