// One account: the host's own state and Durable Functions, the hub's tables, and signed heads of the audit log.
param name string
param location string
param tags object
param sku string
param workspaceId string
param principalId string
param privateNetworking bool
param subnetId string
param blobZoneId string
param queueZoneId string
param tableZoneId string

var roles = {
  // The host leases and writes blobs.
  blobOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  queueContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  tableContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
}
var privateServices = privateNetworking ? [
  { groupId: 'blob', zoneId: blobZoneId }
  { groupId: 'queue', zoneId: queueZoneId }
  { groupId: 'table', zoneId: tableZoneId }
] : []

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: take(name, 24)
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: account
  name: 'default'
}

// Signed heads of the audit log: whatever is written stays as it is for longer than the rows are kept. Lock the policy
// once it is known to fit (docs/audit.md); until then whoever manages the account can shorten it.
resource checkpoints 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'audit-checkpoints'
}

resource checkpointsStay 'Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies@2023-05-01' = {
  parent: checkpoints
  name: 'default'
  properties: {
    immutabilityPeriodSinceCreationInDays: 400
    allowProtectedAppendWrites: false
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in items(roles): {
  name: guid(account.id, principalId, role.value)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
  }
}]

// Deletions alone: the host renews leases by writes, more than anybody would read.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module endpoint 'endpoint.bicep' = [for one in privateServices: {
  name: 'storage-${one.groupId}'
  params: {
    name: account.name
    location: location
    tags: tags
    subnetId: subnetId
    targetId: account.id
    groupId: one.groupId
    zoneId: one.zoneId
  }
}]

output name string = account.name
output tablesEndpoint string = account.properties.primaryEndpoints.table
output auditCheckpointsUrl string = '${account.properties.primaryEndpoints.blob}${checkpoints.name}'
