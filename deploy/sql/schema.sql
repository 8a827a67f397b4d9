SET QUOTED_IDENTIFIER ON;

GO

SET XACT_ABORT ON;

GO

IF (SELECT is_read_committed_snapshot_on FROM sys.databases WHERE name = DB_NAME()) = 0 ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE;

GO

IF (SELECT snapshot_isolation_state FROM sys.databases WHERE name = DB_NAME()) = 0 ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;

GO

BEGIN TRANSACTION;

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

GO

-- Running upgrade  -> 0001

CREATE TABLE [DomainEvents] (
    [Sequence] BIGINT NOT NULL IDENTITY,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [EventId] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [EventType] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Subject] NVARCHAR(200) NULL,
    [Payload] NVARCHAR(max) NOT NULL,
    [OccurredAt] DATETIME2(6) NOT NULL,
    [TraceParent] NVARCHAR(55) NULL,
    [AnnouncedAt] DATETIME2(6) NOT NULL,
    [FannedOutAt] DATETIME2(6) NULL,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    CONSTRAINT [PK_DomainEvents] PRIMARY KEY ([Sequence]),
    CONSTRAINT [UQ_DomainEvent_Id] UNIQUE ([TenantId], [EventId])
);

GO

CREATE INDEX [IX_DomainEvent_CreatedAt] ON [DomainEvents] ([CreatedAt]);

GO

CREATE INDEX [IX_DomainEvent_Outbox] ON [DomainEvents] ([AnnouncedAt]) WHERE FannedOutAt IS NULL;

GO

CREATE TABLE [Tenants] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [LockVersion] BIGINT NOT NULL DEFAULT 0,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    CONSTRAINT [PK_Tenants] PRIMARY KEY ([TenantId])
);

GO

CREATE TABLE [Users] (
    [UserId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [DisplayName] NVARCHAR(200) NOT NULL DEFAULT '',
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    CONSTRAINT [PK_Users] PRIMARY KEY ([UserId]),
    CONSTRAINT [FK_User_Tenant] FOREIGN KEY([TenantId]) REFERENCES [Tenants] ([TenantId])
);

GO

CREATE TABLE [APIKeys] (
    [APIKeyId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [KeyName] NVARCHAR(100) NOT NULL,
    [KeyHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [KeyPrefix] NVARCHAR(8) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Scopes] NVARCHAR(max) NOT NULL,
    [ExpiresAt] DATETIME2(6) NULL,
    [IsActive] BIT NOT NULL DEFAULT 1,
    [LastUsedAt] DATETIME2(6) NULL,
    [UsageCount] BIGINT NOT NULL DEFAULT 0,
    [RateLimitPerHour] INTEGER NOT NULL DEFAULT 1000,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    [CreatedBy] UNIQUEIDENTIFIER NOT NULL,
    [RevokedAt] DATETIME2(6) NULL,
    [RevokedBy] UNIQUEIDENTIFIER NULL,
    CONSTRAINT [PK_APIKeys] PRIMARY KEY ([APIKeyId]),
    CONSTRAINT [FK_APIKey_CreatedBy] FOREIGN KEY([CreatedBy]) REFERENCES [Users] ([UserId]),
    CONSTRAINT [FK_APIKey_RevokedBy] FOREIGN KEY([RevokedBy]) REFERENCES [Users] ([UserId])
);

GO

CREATE INDEX [IX_APIKey_Active] ON [APIKeys] ([IsActive]) WHERE IsActive = 1;

GO

CREATE UNIQUE INDEX [IX_APIKey_Hash] ON [APIKeys] ([KeyHash]);

GO

CREATE INDEX [IX_APIKey_Prefix] ON [APIKeys] ([KeyPrefix]);

GO

CREATE INDEX [IX_APIKey_Tenant] ON [APIKeys] ([TenantId]);

GO

CREATE TABLE [Integrations] (
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Name] NVARCHAR(200) NOT NULL,
    [IntegrationType] INTEGER NOT NULL,
    [Provider] NVARCHAR(100) NOT NULL,
    [Status] INTEGER NOT NULL,
    [Configuration] NVARCHAR(max) NOT NULL,
    [IsEnabled] BIT NOT NULL DEFAULT 1,
    [HealthStatus] INTEGER NOT NULL DEFAULT 3,
    [LastHealthCheck] DATETIME2(6) NULL,
    [LastSyncTime] DATETIME2(6) NULL,
    [ActiveSlot] NVARCHAR(400) COLLATE Latin1_General_100_BIN2 NULL,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    [ModifiedAt] DATETIME2(6) NULL,
    [CreatedBy] UNIQUEIDENTIFIER NOT NULL,
    [ModifiedBy] UNIQUEIDENTIFIER NULL,
    CONSTRAINT [PK_Integrations] PRIMARY KEY ([IntegrationId]),
    CONSTRAINT [FK_Integration_CreatedBy] FOREIGN KEY([CreatedBy]) REFERENCES [Users] ([UserId]),
    CONSTRAINT [FK_Integration_ModifiedBy] FOREIGN KEY([ModifiedBy]) REFERENCES [Users] ([UserId])
);

GO

CREATE INDEX [IX_Integration_Provider] ON [Integrations] ([Provider]);

GO

CREATE INDEX [IX_Integration_Status] ON [Integrations] ([Status]);

GO

CREATE INDEX [IX_Integration_Tenant] ON [Integrations] ([TenantId]);

GO

CREATE INDEX [IX_Integration_Type] ON [Integrations] ([IntegrationType]);

GO

CREATE UNIQUE INDEX [UX_Integration_ActiveSlot] ON [Integrations] ([TenantId], [ActiveSlot]) WHERE ActiveSlot IS NOT NULL;

GO

CREATE TABLE [DataSyncJobs] (
    [DataSyncJobId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [SyncType] INTEGER NOT NULL,
    [Direction] INTEGER NOT NULL,
    [Status] INTEGER NOT NULL,
    [RecordsTotal] INTEGER NOT NULL DEFAULT 0,
    [RecordsProcessed] INTEGER NOT NULL DEFAULT 0,
    [RecordsFailed] INTEGER NOT NULL DEFAULT 0,
    [ErrorLog] NVARCHAR(max) NULL,
    [StartedAt] DATETIME2(6) NULL,
    [CompletedAt] DATETIME2(6) NULL,
    [ScheduledAt] DATETIME2(6) NOT NULL,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    [CreatedBy] UNIQUEIDENTIFIER NOT NULL,
    CONSTRAINT [PK_DataSyncJobs] PRIMARY KEY ([DataSyncJobId]),
    CONSTRAINT [FK_DataSync_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId]),
    CONSTRAINT [FK_DataSync_CreatedBy] FOREIGN KEY([CreatedBy]) REFERENCES [Users] ([UserId])
);

GO

CREATE INDEX [IX_DataSync_Integration] ON [DataSyncJobs] ([IntegrationId]);

GO

CREATE INDEX [IX_DataSync_Scheduled] ON [DataSyncJobs] ([ScheduledAt]);

GO

CREATE INDEX [IX_DataSync_Status] ON [DataSyncJobs] ([Status]);

GO

CREATE INDEX [IX_DataSync_Tenant] ON [DataSyncJobs] ([TenantId]);

GO

CREATE TABLE [IntegrationLogs] (
    [IntegrationLogId] UNIQUEIDENTIFIER NOT NULL,
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [LogLevel] INTEGER NOT NULL,
    [Message] NVARCHAR(max) NOT NULL,
    [Details] NVARCHAR(max) NULL,
    [Exception] NVARCHAR(max) NULL,
    [RequestId] UNIQUEIDENTIFIER NULL,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    CONSTRAINT [PK_IntegrationLogs] PRIMARY KEY NONCLUSTERED ([IntegrationLogId]),
    CONSTRAINT [FK_IntegrationLog_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId])
);

GO

CREATE CLUSTERED INDEX [IX_IntegrationLog_CreatedAt] ON [IntegrationLogs] ([CreatedAt]);

GO

CREATE INDEX [IX_IntegrationLog_Integration] ON [IntegrationLogs] ([IntegrationId]);

GO

CREATE INDEX [IX_IntegrationLog_Level] ON [IntegrationLogs] ([LogLevel]);

GO

CREATE TABLE [Webhooks] (
    [WebhookId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [IntegrationId] UNIQUEIDENTIFIER NULL,
    [Url] NVARCHAR(500) NOT NULL,
    [Description] NVARCHAR(500) NULL,
    [EventTypes] NVARCHAR(max) NOT NULL,
    [Secret] NVARCHAR(max) NOT NULL,
    [PreviousSecret] NVARCHAR(max) NULL,
    [PreviousSecretExpiresAt] DATETIME2(6) NULL,
    [IsActive] BIT NOT NULL DEFAULT 1,
    [State] INTEGER NOT NULL,
    [DisabledReason] NVARCHAR(400) NULL,
    [VerifiedAt] DATETIME2(6) NULL,
    [RetryPolicy] NVARCHAR(max) NOT NULL,
    [MaxRetries] INTEGER NOT NULL DEFAULT 3,
    [TimeoutSeconds] INTEGER NOT NULL DEFAULT 30,
    [RateLimitPerSecond] INTEGER NULL,
    [LastTriggeredAt] DATETIME2(6) NULL,
    [SuccessCount] BIGINT NOT NULL DEFAULT 0,
    [FailureCount] BIGINT NOT NULL DEFAULT 0,
    [ConsecutiveFailures] INTEGER NOT NULL DEFAULT 0,
    [FailingSince] DATETIME2(6) NULL,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    [CreatedBy] UNIQUEIDENTIFIER NOT NULL,
    [ModifiedAt] DATETIME2(6) NULL,
    [Version] INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT [PK_Webhooks] PRIMARY KEY ([WebhookId]),
    CONSTRAINT [FK_Webhook_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId]),
    CONSTRAINT [FK_Webhook_CreatedBy] FOREIGN KEY([CreatedBy]) REFERENCES [Users] ([UserId])
);

GO

CREATE INDEX [IX_Webhook_Active] ON [Webhooks] ([IsActive]) WHERE IsActive = 1;

GO

CREATE INDEX [IX_Webhook_Integration] ON [Webhooks] ([IntegrationId]);

GO

CREATE INDEX [IX_Webhook_Tenant] ON [Webhooks] ([TenantId], [CreatedAt]);

GO

CREATE TABLE [WebhookDeliveries] (
    [WebhookDeliveryId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [WebhookId] UNIQUEIDENTIFIER NOT NULL,
    [EventId] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [EventType] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Payload] NVARCHAR(max) NULL,
    [HttpStatusCode] INTEGER NULL,
    [ResponseBody] NVARCHAR(max) NULL,
    [AttemptCount] INTEGER NOT NULL DEFAULT 0,
    [RetriesUsed] INTEGER NOT NULL DEFAULT 0,
    [DeliveryStatus] INTEGER NOT NULL,
    [IsHeld] BIT NOT NULL DEFAULT 0,
    [ErrorMessage] NVARCHAR(max) NULL,
    [ScheduledAt] DATETIME2(6) NOT NULL,
    [ExpiresAt] DATETIME2(6) NOT NULL,
    [DeliveredAt] DATETIME2(6) NULL,
    [NextRetryAt] DATETIME2(6) NULL,
    [LeaseId] UNIQUEIDENTIFIER NULL,
    [LeasedAt] DATETIME2(6) NULL,
    [RequeueAt] DATETIME2(6) NULL,
    [PayloadBytes] INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT [PK_WebhookDeliveries] PRIMARY KEY NONCLUSTERED ([WebhookDeliveryId]),
    CONSTRAINT [FK_WebhookDelivery_Webhook] FOREIGN KEY([WebhookId]) REFERENCES [Webhooks] ([WebhookId]) ON DELETE CASCADE,
    CONSTRAINT [UQ_WebhookDelivery_Event] UNIQUE ([EventId], [WebhookId])
);

GO

CREATE CLUSTERED INDEX [IX_WebhookDelivery_Scheduled] ON [WebhookDeliveries] ([ScheduledAt]);

GO

CREATE INDEX [IX_WebhookDelivery_Held] ON [WebhookDeliveries] ([WebhookId], [ExpiresAt]) WHERE IsHeld = 1;

GO

CREATE INDEX [IX_WebhookDelivery_NextRetry] ON [WebhookDeliveries] ([NextRetryAt]) WHERE NextRetryAt IS NOT NULL;

GO

CREATE INDEX [IX_WebhookDelivery_Requeue] ON [WebhookDeliveries] ([RequeueAt]) WHERE RequeueAt IS NOT NULL;

GO

CREATE INDEX [IX_WebhookDelivery_Status] ON [WebhookDeliveries] ([DeliveryStatus]);

GO

CREATE INDEX [IX_WebhookDelivery_Webhook] ON [WebhookDeliveries] ([WebhookId], [ScheduledAt]);

GO

CREATE TABLE [WebhookSubscriptions] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [EventType] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [WebhookId] UNIQUEIDENTIFIER NOT NULL,
    CONSTRAINT [PK_WebhookSubscriptions] PRIMARY KEY ([TenantId], [EventType], [WebhookId]),
    CONSTRAINT [FK_WebhookSubscription_Webhook] FOREIGN KEY([WebhookId]) REFERENCES [Webhooks] ([WebhookId]) ON DELETE CASCADE
);

GO

CREATE INDEX [IX_WebhookSubscription_Webhook] ON [WebhookSubscriptions] ([WebhookId]);

GO

CREATE TABLE [WebhookDeliveryAttempts] (
    [WebhookDeliveryId] UNIQUEIDENTIFIER NOT NULL,
    [AttemptNumber] INTEGER NOT NULL,
    [StartedAt] DATETIME2(6) NOT NULL,
    [DurationMs] INTEGER NOT NULL,
    [Outcome] INTEGER NOT NULL,
    [HttpStatusCode] INTEGER NULL,
    [ResponseBody] NVARCHAR(max) NULL,
    [ErrorMessage] NVARCHAR(max) NULL,
    CONSTRAINT [PK_WebhookDeliveryAttempts] PRIMARY KEY NONCLUSTERED ([WebhookDeliveryId], [AttemptNumber]),
    CONSTRAINT [FK_WebhookAttempt_Delivery] FOREIGN KEY([WebhookDeliveryId]) REFERENCES [WebhookDeliveries] ([WebhookDeliveryId]) ON DELETE CASCADE
);

GO

CREATE CLUSTERED INDEX [IX_WebhookAttempt_Started] ON [WebhookDeliveryAttempts] ([StartedAt]);

GO

INSERT INTO alembic_version (version_num) OUTPUT inserted.version_num VALUES ('0001');

GO

-- Running upgrade 0001 -> 0002

ALTER TABLE [Tenants] ADD [AuditAnchorSequence] BIGINT NOT NULL DEFAULT 0;

GO

ALTER TABLE [Tenants] ADD [AuditAnchorHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL DEFAULT '';

GO

ALTER TABLE [Tenants] ADD [AuditSequence] BIGINT NOT NULL DEFAULT 0;

GO

ALTER TABLE [Tenants] ADD [AuditHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL DEFAULT '';

GO

ALTER TABLE [APIKeys] ADD [NotBefore] DATETIME2(6) NULL;

GO

ALTER TABLE [APIKeys] ADD [AllowedIps] NVARCHAR(max) NULL;

GO

ALTER TABLE [APIKeys] ADD [Description] NVARCHAR(500) NULL;

GO

ALTER TABLE [APIKeys] ADD [QuotaId] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [APIKeys] ADD [RotatesFrom] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [APIKeys] ADD [RotatedTo] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [APIKeys] ADD [RevokeReason] NVARCHAR(400) NULL;

GO

ALTER TABLE [APIKeys] ADD [ModifiedAt] DATETIME2(6) NULL;

GO

ALTER TABLE [APIKeys] ADD [Version] INTEGER NOT NULL DEFAULT 1;

GO

CREATE INDEX [IX_APIKey_Expires] ON [APIKeys] ([ExpiresAt]) WHERE IsActive = 1;

GO

CREATE TABLE [AuditLog] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Sequence] BIGINT NOT NULL,
    [OccurredAt] DATETIME2(6) NOT NULL,
    [ActorUserId] UNIQUEIDENTIFIER NULL,
    [ActorKeyId] UNIQUEIDENTIFIER NULL,
    [Action] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [TargetType] NVARCHAR(50) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [TargetId] NVARCHAR(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Before] NVARCHAR(max) NULL,
    [After] NVARCHAR(max) NULL,
    [RequestId] NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NULL,
    [TraceId] NVARCHAR(32) COLLATE Latin1_General_100_BIN2 NULL,
    [IpAddress] NVARCHAR(45) COLLATE Latin1_General_100_BIN2 NULL,
    [PreviousHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Hash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    CONSTRAINT [PK_AuditLog] PRIMARY KEY ([TenantId], [Sequence])
);

GO

CREATE INDEX [IX_Audit_Target] ON [AuditLog] ([TenantId], [TargetId], [Sequence]);

GO

CREATE INDEX [IX_Audit_Occurred] ON [AuditLog] ([TenantId], [OccurredAt]);

GO

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

GO

-- Running upgrade 0002 -> 0003

ALTER TABLE [Integrations] ADD [SecretName] NVARCHAR(127) COLLATE Latin1_General_100_BIN2 NULL;

GO

ALTER TABLE [Integrations] ADD [AllowTls12] BIT NOT NULL DEFAULT 0;

GO

ALTER TABLE [Integrations] ADD [StatusReason] NVARCHAR(max) NULL;

GO

ALTER TABLE [Integrations] ADD [SuspensionCause] INTEGER NULL;

GO

ALTER TABLE [Integrations] ADD [ValidatedAt] DATETIME2(6) NULL;

GO

ALTER TABLE [Integrations] ADD [Account] NVARCHAR(max) NULL;

GO

ALTER TABLE [Integrations] ADD [Vitals] NVARCHAR(max) NULL;

GO

ALTER TABLE [Integrations] ADD [ConsecutiveFailures] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [Integrations] ADD [ProbeAfter] DATETIME2(6) NULL;

GO

ALTER TABLE [Integrations] ADD [Version] INTEGER NOT NULL DEFAULT 1;

GO

CREATE INDEX [IX_Integration_Secret] ON [Integrations] ([SecretName]) WHERE SecretName IS NOT NULL;

GO

CREATE TABLE [PendingAlerts] (
    [AlertId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Kind] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Data] NVARCHAR(max) NOT NULL,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    CONSTRAINT [PK_PendingAlerts] PRIMARY KEY ([AlertId])
);

GO

CREATE INDEX [IX_PendingAlert_CreatedAt] ON [PendingAlerts] ([CreatedAt]);

GO

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

GO

-- Running upgrade 0003 -> 0004

CREATE TABLE [IncomingEndpoints] (
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [AllowedIps] NVARCHAR(max) NOT NULL,
    [TokenHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NULL,
    [PreviousTokenHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NULL,
    [PreviousExpiresAt] DATETIME2(6) NULL,
    [RotatedAt] DATETIME2(6) NULL,
    [RefusedCount] BIGINT NOT NULL DEFAULT 0,
    [LastRefusedAt] DATETIME2(6) NULL,
    [LastRefusal] NVARCHAR(400) NULL,
    [Version] INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT [PK_IncomingEndpoints] PRIMARY KEY ([IntegrationId]),
    CONSTRAINT [FK_IncomingEndpoint_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId])
);

GO

CREATE TABLE [IncomingBodies] (
    [IncomingBodyId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [Request] NVARCHAR(max) NOT NULL,
    [ReceivedAt] DATETIME2(6) NOT NULL,
    CONSTRAINT [PK_IncomingBodies] PRIMARY KEY NONCLUSTERED ([IncomingBodyId])
);

GO

CREATE CLUSTERED INDEX [IX_IncomingBody_Received] ON [IncomingBodies] ([ReceivedAt]);

GO

CREATE TABLE [IncomingWebhooks] (
    [IncomingWebhookId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [IncomingBodyId] UNIQUEIDENTIFIER NOT NULL,
    [ProviderEventId] NVARCHAR(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [EventType] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Status] INTEGER NOT NULL,
    [Attempts] INTEGER NOT NULL,
    [ReceivedAt] DATETIME2(6) NOT NULL,
    [SourceIP] NVARCHAR(45) COLLATE Latin1_General_100_BIN2 NULL,
    [OccurredAt] DATETIME2(6) NULL,
    [EventId] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NULL,
    [ProcessedAt] DATETIME2(6) NULL,
    [ErrorMessage] NVARCHAR(max) NULL,
    CONSTRAINT [PK_IncomingWebhooks] PRIMARY KEY NONCLUSTERED ([IncomingWebhookId]),
    CONSTRAINT [FK_IncomingWebhook_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId]),
    CONSTRAINT [UQ_IncomingWebhook_Event] UNIQUE ([IntegrationId], [ProviderEventId])
);

GO

CREATE INDEX [IX_IncomingWebhook_Integration] ON [IncomingWebhooks] ([IntegrationId], [ReceivedAt]);

GO

CREATE CLUSTERED INDEX [IX_IncomingWebhook_Received] ON [IncomingWebhooks] ([ReceivedAt]);

GO

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

GO

-- Running upgrade 0004 -> 0005

ALTER TABLE [DataSyncJobs] ADD [Origin] NVARCHAR(20) COLLATE Latin1_General_100_BIN2 NOT NULL DEFAULT 'Manual';

GO

ALTER TABLE [DataSyncJobs] ADD [Stage] NVARCHAR(120) COLLATE Latin1_General_100_BIN2 NOT NULL DEFAULT '';

GO

ALTER TABLE [DataSyncJobs] ADD [RecordsWritten] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DataSyncJobs] ADD [RecordsUnchanged] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DataSyncJobs] ADD [RecordsDuplicate] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DataSyncJobs] ADD [RecordsDeleted] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DataSyncJobs] ADD [ErrorCode] NVARCHAR(40) COLLATE Latin1_General_100_BIN2 NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [RunSlot] INTEGER NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [RunNumber] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DataSyncJobs] ADD [Restarts] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DataSyncJobs] ADD [RunStartedAt] DATETIME2(6) NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [LiveAt] DATETIME2(6) NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [WaitingUntil] DATETIME2(6) NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [QueuedAt] DATETIME2(6) NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [Rate] FLOAT NULL;

GO

CREATE UNIQUE INDEX [UX_DataSync_Slot] ON [DataSyncJobs] ([RunSlot]) WHERE RunSlot IS NOT NULL;

GO

CREATE UNIQUE INDEX [UX_DataSync_Running] ON [DataSyncJobs] ([IntegrationId]) WHERE RunSlot IS NOT NULL;

GO

CREATE INDEX [IX_DataSync_Waiting] ON [DataSyncJobs] ([Status], [ScheduledAt]) WHERE Status = 0;

GO

CREATE INDEX [IX_DataSync_Created] ON [DataSyncJobs] ([TenantId], [CreatedAt]);

GO

CREATE INDEX [IX_DataSync_Limits] ON [DataSyncJobs] ([IntegrationId], [ScheduledAt]);

GO

CREATE TABLE [SyncSteps] (
    [DataSyncJobId] UNIQUEIDENTIFIER NOT NULL,
    [Position] INTEGER NOT NULL,
    [Stream] NVARCHAR(60) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Direction] INTEGER NOT NULL,
    [SyncType] INTEGER NOT NULL,
    [Phase] NVARCHAR(10) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Checkpoint] NVARCHAR(max) NULL,
    [CheckpointVersion] INTEGER NOT NULL DEFAULT 0,
    [Generation] BIGINT NOT NULL DEFAULT 0,
    [Total] INTEGER NULL,
    [Processed] INTEGER NOT NULL DEFAULT 0,
    [Failed] INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT [PK_SyncSteps] PRIMARY KEY ([DataSyncJobId], [Position]),
    CONSTRAINT [FK_SyncStep_Job] FOREIGN KEY([DataSyncJobId]) REFERENCES [DataSyncJobs] ([DataSyncJobId]) ON DELETE CASCADE
);

GO

CREATE TABLE [SyncStreams] (
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [Stream] NVARCHAR(60) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [State] NVARCHAR(max) NULL,
    [Since] DATETIME2(6) NULL,
    [Generation] BIGINT NOT NULL DEFAULT 0,
    [LastTotal] INTEGER NULL,
    [LastFullAt] DATETIME2(6) NULL,
    [SyncedAt] DATETIME2(6) NULL,
    CONSTRAINT [PK_SyncStreams] PRIMARY KEY ([IntegrationId], [Stream]),
    CONSTRAINT [FK_SyncStream_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId])
);

GO

CREATE TABLE [SyncedRecords] (
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [Stream] NVARCHAR(60) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [ExternalId] NVARCHAR(300) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [RecordType] NVARCHAR(20) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Data] NVARCHAR(max) NULL,
    [LocalId] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NULL,
    [SourceHash] NVARCHAR(32) COLLATE Latin1_General_100_BIN2 NULL,
    [ExportedHash] NVARCHAR(32) COLLATE Latin1_General_100_BIN2 NULL,
    [SourceVersion] NVARCHAR(200) COLLATE Latin1_General_100_BIN2 NULL,
    [ModifiedAt] DATETIME2(6) NULL,
    [SyncedAt] DATETIME2(6) NOT NULL,
    [DeletedAt] DATETIME2(6) NULL,
    [Generation] BIGINT NOT NULL DEFAULT 0,
    [LastJobId] UNIQUEIDENTIFIER NULL,
    [IsLocal] BIT NOT NULL DEFAULT 0,
    [ExportPending] BIT NOT NULL DEFAULT 0,
    CONSTRAINT [PK_SyncedRecords] PRIMARY KEY ([IntegrationId], [Stream], [ExternalId]),
    CONSTRAINT [FK_SyncedRecord_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId])
);

GO

CREATE INDEX [IX_SyncedRecord_Changed] ON [SyncedRecords] ([IntegrationId], [SyncedAt]);

GO

CREATE UNIQUE INDEX [IX_SyncedRecord_Local] ON [SyncedRecords] ([IntegrationId], [Stream], [LocalId]) WHERE LocalId IS NOT NULL;

GO

CREATE INDEX [IX_SyncedRecord_Export] ON [SyncedRecords] ([IntegrationId], [Stream], [ExternalId]) WHERE ExportPending = 1;

GO

CREATE INDEX [IX_SyncedRecord_Job] ON [SyncedRecords] ([LastJobId]) WHERE LastJobId IS NOT NULL;

GO

CREATE INDEX [IX_SyncedRecord_Deleted] ON [SyncedRecords] ([DeletedAt]) WHERE DeletedAt IS NOT NULL;

GO

CREATE TABLE [SyncRecordErrors] (
    [SyncRecordErrorId] UNIQUEIDENTIFIER NOT NULL,
    [DataSyncJobId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Stream] NVARCHAR(60) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [ExternalId] NVARCHAR(300) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Pointer] NVARCHAR(300) NOT NULL,
    [Reason] NVARCHAR(400) NOT NULL,
    [CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),
    CONSTRAINT [PK_SyncRecordErrors] PRIMARY KEY NONCLUSTERED ([SyncRecordErrorId]),
    CONSTRAINT [FK_SyncRecordError_Job] FOREIGN KEY([DataSyncJobId]) REFERENCES [DataSyncJobs] ([DataSyncJobId]) ON DELETE CASCADE
);

GO

CREATE CLUSTERED INDEX [IX_SyncRecordError_CreatedAt] ON [SyncRecordErrors] ([CreatedAt]);

GO

CREATE INDEX [IX_SyncRecordError_Job] ON [SyncRecordErrors] ([DataSyncJobId], [CreatedAt]);

GO

CREATE TABLE [SyncSchedules] (
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [SyncType] INTEGER NOT NULL,
    [Direction] INTEGER NOT NULL,
    [Expression] NVARCHAR(120) COLLATE Latin1_General_100_BIN2 NULL,
    [IntervalMinutes] INTEGER NULL,
    [IsEnabled] BIT NOT NULL DEFAULT 1,
    [NextRunAt] DATETIME2(6) NULL,
    [ModifiedAt] DATETIME2(6) NOT NULL,
    [ModifiedBy] UNIQUEIDENTIFIER NOT NULL,
    [Version] INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT [PK_SyncSchedules] PRIMARY KEY ([IntegrationId]),
    CONSTRAINT [FK_SyncSchedule_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId]),
    CONSTRAINT [FK_SyncSchedule_ModifiedBy] FOREIGN KEY([ModifiedBy]) REFERENCES [Users] ([UserId])
);

GO

CREATE INDEX [IX_SyncSchedule_Next] ON [SyncSchedules] ([NextRunAt]) WHERE NextRunAt IS NOT NULL;

GO

CREATE TABLE [SyncMappings] (
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Mapping] NVARCHAR(max) NOT NULL,
    [ModifiedAt] DATETIME2(6) NOT NULL,
    [ModifiedBy] UNIQUEIDENTIFIER NOT NULL,
    [Version] INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT [PK_SyncMappings] PRIMARY KEY ([IntegrationId]),
    CONSTRAINT [FK_SyncMapping_Integration] FOREIGN KEY([IntegrationId]) REFERENCES [Integrations] ([IntegrationId]),
    CONSTRAINT [FK_SyncMapping_ModifiedBy] FOREIGN KEY([ModifiedBy]) REFERENCES [Users] ([UserId])
);

GO

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

GO

-- Running upgrade 0005 -> 0006

ALTER TABLE [Webhooks] ADD [RetryHistory] NVARCHAR(max) NULL;

GO

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';

GO

-- Running upgrade 0006 -> 0007

CREATE TABLE [SignalDeltas] (
    [Sequence] BIGINT NOT NULL IDENTITY,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Kind] INTEGER NOT NULL,
    [SubjectId] UNIQUEIDENTIFIER NOT NULL,
    [Hour] DATETIME2(6) NOT NULL,
    [Total] BIGINT NOT NULL DEFAULT 0,
    [Succeeded] BIGINT NOT NULL DEFAULT 0,
    [Failed] BIGINT NOT NULL DEFAULT 0,
    [FailedForGood] BIGINT NOT NULL DEFAULT 0,
    [Volume] BIGINT NOT NULL DEFAULT 0,
    [Errors] NVARCHAR(max) NOT NULL,
    [Latency] NVARCHAR(max) NOT NULL,
    CONSTRAINT [PK_SignalDeltas] PRIMARY KEY ([Sequence])
);

GO

CREATE INDEX [IX_SignalDelta_Subject] ON [SignalDeltas] ([TenantId], [Kind], [SubjectId]);

GO

CREATE TABLE [SignalBuckets] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Kind] INTEGER NOT NULL,
    [SubjectId] UNIQUEIDENTIFIER NOT NULL,
    [Hour] DATETIME2(6) NOT NULL,
    [Total] BIGINT NOT NULL DEFAULT 0,
    [Succeeded] BIGINT NOT NULL DEFAULT 0,
    [Failed] BIGINT NOT NULL DEFAULT 0,
    [FailedForGood] BIGINT NOT NULL DEFAULT 0,
    [Volume] BIGINT NOT NULL DEFAULT 0,
    [Errors] NVARCHAR(max) NOT NULL,
    [Latency] NVARCHAR(max) NOT NULL,
    [Version] INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT [PK_SignalBuckets] PRIMARY KEY ([TenantId], [Kind], [Hour], [SubjectId])
);

GO

CREATE INDEX [IX_SignalBucket_Hour] ON [SignalBuckets] ([Hour]);

GO

UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';

GO

-- Running upgrade 0007 -> 0008

CREATE TABLE [Alerts] (
    [AlertId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Kind] NVARCHAR(40) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Subject] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Severity] INTEGER NOT NULL,
    [Status] INTEGER NOT NULL,
    [Summary] NVARCHAR(400) NOT NULL,
    [Details] NVARCHAR(max) NOT NULL,
    [Occurrences] INTEGER NOT NULL DEFAULT 1,
    [OpenedAt] DATETIME2(6) NOT NULL,
    [LastSeenAt] DATETIME2(6) NOT NULL,
    [AcknowledgedAt] DATETIME2(6) NULL,
    [AcknowledgedBy] UNIQUEIDENTIFIER NULL,
    [Note] NVARCHAR(400) NULL,
    [RecoveredAt] DATETIME2(6) NULL,
    [Recovery] NVARCHAR(400) NULL,
    [NotificationFailure] NVARCHAR(400) NULL,
    CONSTRAINT [PK_Alerts] PRIMARY KEY ([AlertId])
);

GO

CREATE UNIQUE INDEX [UX_Alert_Active] ON [Alerts] ([TenantId], [Kind], [Subject]) WHERE RecoveredAt IS NULL;

GO

CREATE INDEX [IX_Alert_Active] ON [Alerts] ([Kind]) WHERE RecoveredAt IS NULL;

GO

CREATE INDEX [IX_Alert_Opened] ON [Alerts] ([TenantId], [OpenedAt]);

GO

CREATE INDEX [IX_Alert_Subject] ON [Alerts] ([TenantId], [Kind], [Subject], [RecoveredAt]);

GO

CREATE INDEX [IX_Alert_Recovered] ON [Alerts] ([RecoveredAt]) WHERE RecoveredAt IS NOT NULL;

GO

CREATE TABLE [AlertRules] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Kind] NVARCHAR(40) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [IsEnabled] BIT NULL,
    [Severity] INTEGER NULL,
    [Threshold] FLOAT NULL,
    [MinimumVolume] INTEGER NULL,
    [Sinks] NVARCHAR(max) NOT NULL,
    [ModifiedAt] DATETIME2(6) NOT NULL,
    [ModifiedBy] UNIQUEIDENTIFIER NOT NULL,
    [Version] INTEGER NOT NULL,
    CONSTRAINT [PK_AlertRules] PRIMARY KEY ([Kind], [TenantId])
);

GO

CREATE TABLE [AlertNotifications] (
    [NotificationId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [AlertId] UNIQUEIDENTIFIER NOT NULL,
    [Transition] INTEGER NOT NULL,
    [IntegrationId] UNIQUEIDENTIFIER NOT NULL,
    [Recipient] NVARCHAR(254) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Status] INTEGER NOT NULL,
    [Attempts] INTEGER NOT NULL DEFAULT 0,
    [DueAt] DATETIME2(6) NOT NULL,
    [SentAt] DATETIME2(6) NULL,
    [Detail] NVARCHAR(400) NULL,
    [CreatedAt] DATETIME2(6) NOT NULL,
    CONSTRAINT [PK_AlertNotifications] PRIMARY KEY ([NotificationId]),
    CONSTRAINT [FK_AlertNotification_Alert] FOREIGN KEY([AlertId]) REFERENCES [Alerts] ([AlertId]) ON DELETE CASCADE,
    CONSTRAINT [UQ_AlertNotification_Message] UNIQUE ([AlertId], [Transition], [IntegrationId], [Recipient])
);

GO

CREATE INDEX [IX_AlertNotification_Due] ON [AlertNotifications] ([DueAt]) WHERE Status = 0;

GO

UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';

GO

-- Running upgrade 0008 -> 0009

ALTER TABLE [APIKeys] ADD [LimitedCount] BIGINT NOT NULL DEFAULT 0;

GO

ALTER TABLE [APIKeys] ADD [RefusedCount] BIGINT NOT NULL DEFAULT 0;

GO

CREATE INDEX [IX_Integration_Health] ON [Integrations] ([Provider], [Status], [HealthStatus]);

GO

UPDATE alembic_version SET version_num='0009' WHERE alembic_version.version_num = '0008';

GO

-- Running upgrade 0009 -> 0010

CREATE TABLE [Erasures] (
    [ErasureId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Status] INTEGER NOT NULL,
    [Subject] NVARCHAR(max) NULL,
    [Place] INTEGER NOT NULL DEFAULT 0,
    [Position] NVARCHAR(max) NULL,
    [Counts] NVARCHAR(max) NOT NULL,
    [CreatedAt] DATETIME2(6) NOT NULL,
    [CreatedBy] UNIQUEIDENTIFIER NOT NULL,
    [CompletedAt] DATETIME2(6) NULL,
    [Version] INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT [PK_Erasures] PRIMARY KEY ([ErasureId])
);

GO

CREATE INDEX [IX_Erasure_Tenant] ON [Erasures] ([TenantId], [CreatedAt]);

GO

CREATE INDEX [IX_Erasure_Open] ON [Erasures] ([CreatedAt]) WHERE CompletedAt IS NULL;

GO

CREATE TABLE [SuppressedPeople] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Digest] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [SuppressedAt] DATETIME2(6) NOT NULL,
    CONSTRAINT [PK_SuppressedPeople] PRIMARY KEY ([TenantId], [Digest])
);

GO

UPDATE alembic_version SET version_num='0010' WHERE alembic_version.version_num = '0009';

GO

-- Running upgrade 0010 -> 0011

CREATE TABLE [Anomalies] (
    [AnomalyId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [SubjectKind] INTEGER NOT NULL,
    [SubjectId] UNIQUEIDENTIFIER NOT NULL,
    [Metric] NVARCHAR(40) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Direction] INTEGER NOT NULL,
    [Detail] NVARCHAR(400) NOT NULL,
    [Observed] FLOAT NULL,
    [Typical] FLOAT NULL,
    [Low] FLOAT NULL,
    [High] FLOAT NULL,
    [Score] FLOAT NULL,
    [Hours] INTEGER NOT NULL DEFAULT 1,
    [StartedAt] DATETIME2(6) NOT NULL,
    [LastSeenAt] DATETIME2(6) NOT NULL,
    [EndedAt] DATETIME2(6) NULL,
    [AcknowledgedAt] DATETIME2(6) NULL,
    [AcknowledgedBy] UNIQUEIDENTIFIER NULL,
    [Note] NVARCHAR(400) NULL,
    [SnoozedUntil] DATETIME2(6) NULL,
    CONSTRAINT [PK_Anomalies] PRIMARY KEY ([AnomalyId])
);

GO

CREATE UNIQUE INDEX [UX_Anomaly_Active] ON [Anomalies] ([TenantId], [SubjectId], [SubjectKind], [Metric], [Direction]) WHERE EndedAt IS NULL;

GO

CREATE INDEX [IX_Anomaly_Started] ON [Anomalies] ([TenantId], [StartedAt]);

GO

CREATE INDEX [IX_Anomaly_Snoozed] ON [Anomalies] ([TenantId], [SnoozedUntil]) WHERE SnoozedUntil IS NOT NULL;

GO

CREATE INDEX [IX_Anomaly_Ended] ON [Anomalies] ([EndedAt]) WHERE EndedAt IS NOT NULL;

GO

CREATE TABLE [AnomalyWatermarks] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Hour] DATETIME2(6) NOT NULL,
    CONSTRAINT [PK_AnomalyWatermarks] PRIMARY KEY ([TenantId])
);

GO

CREATE TABLE [KeySightings] (
    [ApiKeyId] UNIQUEIDENTIFIER NOT NULL,
    [Trait] INTEGER NOT NULL,
    [Value] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [FirstSeenAt] DATETIME2(6) NOT NULL,
    [LastSeenAt] DATETIME2(6) NOT NULL,
    CONSTRAINT [PK_KeySightings] PRIMARY KEY ([ApiKeyId], [Trait], [Value])
);

GO

CREATE INDEX [IX_KeySighting_LastSeen] ON [KeySightings] ([LastSeenAt]);

GO

UPDATE alembic_version SET version_num='0011' WHERE alembic_version.version_num = '0010';

GO

-- Running upgrade 0011 -> 0012

CREATE TABLE [RecommendationDecisions] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [RecommendationId] UNIQUEIDENTIFIER NOT NULL,
    [Status] INTEGER NOT NULL,
    [Reason] NVARCHAR(400) NULL,
    [EndsAt] DATETIME2(6) NULL,
    [DecidedAt] DATETIME2(6) NOT NULL,
    [DecidedBy] UNIQUEIDENTIFIER NOT NULL,
    [Snapshot] NVARCHAR(max) NOT NULL,
    CONSTRAINT [PK_RecommendationDecisions] PRIMARY KEY ([TenantId], [RecommendationId])
);

GO

UPDATE alembic_version SET version_num='0012' WHERE alembic_version.version_num = '0011';

GO

-- Running upgrade 0012 -> 0013

ALTER TABLE [APIKeys] ADD [ConnectionsClosedAt] DATETIME2(6) NULL;

GO

CREATE INDEX [IX_APIKey_Unclosed] ON [APIKeys] ([RevokedAt]) WHERE IsActive = 0 AND ConnectionsClosedAt IS NULL;

GO

UPDATE alembic_version SET version_num='0013' WHERE alembic_version.version_num = '0012';

GO

-- Running upgrade 0013 -> 0014

ALTER TABLE [DataSyncJobs] ADD [TraceParent] NVARCHAR(55) NULL;

GO

UPDATE alembic_version SET version_num='0014' WHERE alembic_version.version_num = '0013';

GO

-- Running upgrade 0014 -> 0015

ALTER TABLE [WebhookDeliveryAttempts] ADD [RequestHeaders] NVARCHAR(max) NULL;

GO

ALTER TABLE [WebhookDeliveryAttempts] ADD [ResponseHeaders] NVARCHAR(max) NULL;

GO

UPDATE alembic_version SET version_num='0015' WHERE alembic_version.version_num = '0014';

GO

-- Running upgrade 0015 -> 0016

ALTER TABLE [WebhookDeliveries] ADD [IsTest] BIT NOT NULL DEFAULT 0;

GO

UPDATE alembic_version SET version_num='0016' WHERE alembic_version.version_num = '0015';

GO

-- Running upgrade 0016 -> 0017

ALTER TABLE [IncomingEndpoints] ADD [RepeatWindowSeconds] INTEGER NULL;

GO

ALTER TABLE [IncomingWebhooks] ADD [ContentDigest] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NULL;

GO

ALTER TABLE [IncomingWebhooks] ADD [SameBodyAs] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [IncomingWebhooks] ADD [UnsignedFields] NVARCHAR(20) COLLATE Latin1_General_100_BIN2 NULL;

GO

CREATE INDEX [IX_IncomingWebhook_Content] ON [IncomingWebhooks] ([IntegrationId], [ContentDigest], [ReceivedAt]);

GO

UPDATE alembic_version SET version_num='0017' WHERE alembic_version.version_num = '0016';

GO

-- Running upgrade 0017 -> 0018

ALTER TABLE [DataSyncJobs] ADD [ResumedFrom] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [ResumedBy] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [ChainRun] INTEGER NOT NULL DEFAULT 1;

GO

ALTER TABLE [DataSyncJobs] ADD [ChainBeganAt] DATETIME2(6) NULL;

GO

ALTER TABLE [DataSyncJobs] ADD [RunBatches] INTEGER NOT NULL DEFAULT 0;

GO

UPDATE alembic_version SET version_num='0018' WHERE alembic_version.version_num = '0017';

GO

-- Running upgrade 0018 -> 0019

ALTER TABLE [DataSyncJobs] ADD [Interruptions] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [SyncRecordErrors] ADD [Kind] NVARCHAR(12) COLLATE Latin1_General_100_BIN2 NOT NULL DEFAULT 'Record';

GO

ALTER TABLE [SyncRecordErrors] ADD [Details] NVARCHAR(400) NULL;

GO

UPDATE alembic_version SET version_num='0019' WHERE alembic_version.version_num = '0018';

GO

-- Running upgrade 0019 -> 0020

ALTER TABLE [Integrations] ADD [OwnerId] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [Integrations] ADD [AccountHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NULL;

GO

ALTER TABLE [Integrations] ADD [ClientHash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NULL;

GO

CREATE INDEX [IX_Integration_Client] ON [Integrations] ([ClientHash], [AccountHash]) WHERE ClientHash IS NOT NULL;

GO

UPDATE alembic_version SET version_num='0020' WHERE alembic_version.version_num = '0019';

GO

-- Running upgrade 0020 -> 0021

ALTER TABLE [Alerts] ADD [ClosedAs] NVARCHAR(20) COLLATE Latin1_General_100_BIN2 NULL;

GO

ALTER TABLE [Alerts] ADD [Reopenings] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [Alerts] ADD [Successes] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [Webhooks] ADD [SuccessesInRow] BIGINT NOT NULL DEFAULT 0;

GO

ALTER TABLE [Webhooks] ADD [SucceedingSince] DATETIME2(6) NULL;

GO

ALTER TABLE [Webhooks] ADD [LastFailedAt] DATETIME2(6) NULL;

GO

CREATE TABLE [SecurityBursts] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Source] NVARCHAR(20) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Subject] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [Label] NVARCHAR(200) NOT NULL,
    [StartedAt] DATETIME2(6) NOT NULL,
    [LastAt] DATETIME2(6) NOT NULL,
    [Occurred] BIGINT NOT NULL,
    [Reason] NVARCHAR(400) NOT NULL,
    [SourceIp] NVARCHAR(45) COLLATE Latin1_General_100_BIN2 NULL,
    [LoggedAt] DATETIME2(6) NULL,
    [ToldCount] BIGINT NULL,
    CONSTRAINT [PK_SecurityBursts] PRIMARY KEY ([TenantId], [Source], [Subject])
);

GO

UPDATE alembic_version SET version_num='0021' WHERE alembic_version.version_num = '0020';

GO

-- Running upgrade 0021 -> 0022

ALTER TABLE [Webhooks] ADD [Ordering] NVARCHAR(20) COLLATE Latin1_General_100_BIN2 NOT NULL DEFAULT 'none';

GO

ALTER TABLE [WebhookDeliveries] ADD [Line] BIGINT NULL;

GO

ALTER TABLE [WebhookDeliveries] ADD [LinePlace] BIGINT NULL;

GO

ALTER TABLE [WebhookDeliveries] ADD [IsWaiting] BIT NOT NULL DEFAULT 0;

GO

CREATE INDEX [IX_WebhookDelivery_Line] ON [WebhookDeliveries] ([WebhookId], [Line], [IsWaiting], [LinePlace]) WHERE Line IS NOT NULL;

GO

UPDATE alembic_version SET version_num='0022' WHERE alembic_version.version_num = '0021';

GO

-- Running upgrade 0022 -> 0023

ALTER TABLE [SyncedRecords] ADD [LocalFields] NVARCHAR(max) NULL;

GO

UPDATE alembic_version SET version_num='0023' WHERE alembic_version.version_num = '0022';

GO

-- Running upgrade 0023 -> 0024

CREATE TABLE [AuditTrees] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [FirstSequence] BIGINT NOT NULL,
    [Size] BIGINT NOT NULL,
    [SignedSize] BIGINT NOT NULL,
    [Note] NVARCHAR(max) NULL,
    CONSTRAINT [PK_AuditTrees] PRIMARY KEY ([TenantId])
);

GO

CREATE TABLE [AuditNodes] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Level] INTEGER NOT NULL,
    [Position] BIGINT NOT NULL,
    [Hash] NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    CONSTRAINT [PK_AuditNodes] PRIMARY KEY ([TenantId], [Level], [Position])
);

GO

UPDATE alembic_version SET version_num='0024' WHERE alembic_version.version_num = '0023';

GO

-- Running upgrade 0024 -> 0030

CREATE TABLE [TenantUsage] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [Period] INTEGER NOT NULL,
    [Start] DATETIME2(6) NOT NULL,
    [Calls] BIGINT NOT NULL DEFAULT 0,
    [Events] BIGINT NOT NULL DEFAULT 0,
    [Deliveries] BIGINT NOT NULL DEFAULT 0,
    [Records] BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT [PK_TenantUsage] PRIMARY KEY ([TenantId], [Period], [Start])
);

GO

CREATE INDEX [IX_TenantUsage_Start] ON [TenantUsage] ([Period], [Start]);

GO

UPDATE alembic_version SET version_num='0030' WHERE alembic_version.version_num = '0024';

GO

-- Running upgrade 0030 -> 0027

ALTER TABLE [DomainEvents] ADD [Origin] INTEGER NULL;

GO

ALTER TABLE [DomainEvents] ADD [OriginProvider] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NULL;

GO

ALTER TABLE [DomainEvents] ADD [OriginIntegrationId] UNIQUEIDENTIFIER NULL;

GO

UPDATE alembic_version SET version_num='0027' WHERE alembic_version.version_num = '0030';

GO

-- Running upgrade 0027 -> 0031

ALTER TABLE [APIKeys] ADD [MadeByKey] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [APIKeys] ADD [RootQuota] UNIQUEIDENTIFIER NULL;

GO

ALTER TABLE [APIKeys] ADD [GivenPerHour] INTEGER NULL;

GO

UPDATE alembic_version SET version_num='0031' WHERE alembic_version.version_num = '0027';

GO

-- Running upgrade 0031 -> 0029

ALTER TABLE [DomainEvents] ADD [Hops] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DomainEvents] ADD [Laps] INTEGER NOT NULL DEFAULT 0;

GO

ALTER TABLE [DomainEvents] ADD [Digest] BIGINT NULL;

GO

ALTER TABLE [DomainEvents] ADD [HeldAt] DATETIME2(6) NULL;

GO

CREATE INDEX [IX_DomainEvent_Digest] ON [DomainEvents] ([TenantId], [Digest], [CreatedAt]) WHERE Digest IS NOT NULL;

GO

CREATE INDEX [IX_DomainEvent_Laps] ON [DomainEvents] ([TenantId], [FannedOutAt], [EventType]) WHERE Laps >= 8;

GO

CREATE INDEX [IX_DomainEvent_Held] ON [DomainEvents] ([TenantId], [EventType], [Sequence]) WHERE HeldAt IS NOT NULL;

GO

CREATE TABLE [LoopBrakes] (
    [LoopBrakeId] UNIQUEIDENTIFIER NOT NULL,
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [EventType] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    [State] INTEGER NOT NULL,
    [Since] DATETIME2(6) NOT NULL,
    [LastSeenAt] DATETIME2(6) NOT NULL,
    [Trips] INTEGER NOT NULL,
    [Unprovoked] INTEGER NOT NULL,
    [ProbeEventId] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NULL,
    [TrustedUntil] DATETIME2(6) NULL,
    CONSTRAINT [PK_LoopBrakes] PRIMARY KEY ([LoopBrakeId]),
    CONSTRAINT [UQ_LoopBrake_Type] UNIQUE ([TenantId], [EventType])
);

GO

UPDATE alembic_version SET version_num='0029' WHERE alembic_version.version_num = '0031';

GO

-- Running upgrade 0029 -> 0032

CREATE TABLE [TenantStandings] (
    [TenantId] UNIQUEIDENTIFIER NOT NULL,
    [SuspendedAt] DATETIME2(6) NULL,
    [Reason] NVARCHAR(400) NULL,
    [RestoringSince] DATETIME2(6) NULL,
    [ResumedAt] DATETIME2(6) NULL,
    [MostWebhooks] INTEGER NULL,
    [MostApiKeys] INTEGER NULL,
    [MostIntegrations] INTEGER NULL,
    [MostRequestsPerHour] INTEGER NULL,
    [MostEventsPerHour] INTEGER NULL,
    [DeletionRequestedAt] DATETIME2(6) NULL,
    [DeletionRequestedBy] UNIQUEIDENTIFIER NULL,
    [DeletionPlace] INTEGER NOT NULL DEFAULT 0,
    [DeletionPosition] UNIQUEIDENTIFIER NULL,
    [DeletionCounts] NVARCHAR(max) NULL,
    [DeletedAt] DATETIME2(6) NULL,
    [Version] INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT [PK_TenantStandings] PRIMARY KEY ([TenantId])
);

GO

UPDATE alembic_version SET version_num='0032' WHERE alembic_version.version_num = '0029';

GO

-- Running upgrade 0032 -> 0036

UPDATE [SyncedRecords] SET [ExternalId] = STUFF([ExternalId], DATALENGTH([ExternalId]) / 2, 1, NCHAR(65535)) WHERE [ExternalId] LIKE N'%' + NCHAR(32);

GO

UPDATE [SyncedRecords] SET [LocalId] = STUFF([LocalId], DATALENGTH([LocalId]) / 2, 1, NCHAR(65535)) WHERE [LocalId] LIKE N'%' + NCHAR(32);

GO

UPDATE [SyncedRecords] SET [Stream] = STUFF([Stream], DATALENGTH([Stream]) / 2, 1, NCHAR(65535)) WHERE [Stream] LIKE N'%' + NCHAR(32);

GO

UPDATE [SyncStreams] SET [Stream] = STUFF([Stream], DATALENGTH([Stream]) / 2, 1, NCHAR(65535)) WHERE [Stream] LIKE N'%' + NCHAR(32);

GO

UPDATE [SyncSteps] SET [Stream] = STUFF([Stream], DATALENGTH([Stream]) / 2, 1, NCHAR(65535)) WHERE [Stream] LIKE N'%' + NCHAR(32);

GO

UPDATE [SyncRecordErrors] SET [ExternalId] = STUFF([ExternalId], DATALENGTH([ExternalId]) / 2, 1, NCHAR(65535)) WHERE [ExternalId] LIKE N'%' + NCHAR(32);

GO

UPDATE [SyncRecordErrors] SET [Stream] = STUFF([Stream], DATALENGTH([Stream]) / 2, 1, NCHAR(65535)) WHERE [Stream] LIKE N'%' + NCHAR(32);

GO

UPDATE [KeySightings] SET [Value] = STUFF([Value], DATALENGTH([Value]) / 2, 1, NCHAR(65535)) WHERE [Value] LIKE N'%' + NCHAR(32);

GO

UPDATE alembic_version SET version_num='0036' WHERE alembic_version.version_num = '0032';

GO

COMMIT;

GO
