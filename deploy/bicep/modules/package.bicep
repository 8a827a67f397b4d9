// What the app is deployed from, in an account and with an identity of its own: what runs is decided by what is written
// here. Earlier packages stay, and every write is in Log Analytics.
param name string
param location string
param tags object
param sku string
param identityName string
param container string
param workspaceId string
param privateNetworking bool
param subnetId string
param zoneId string

// Storage Blob Data Contributor: the platform stores the package and starts instances from it.
var blobContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: identityName
  location: location
  tags: tags
}

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
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: { enabled: true, days: 30 }
    containerDeleteRetentionPolicy: { enabled: true, days: 30 }
  }
}

resource package 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: container
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(package.id, identity.id, blobContributor)
  scope: package
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobContributor)
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageRead', enabled: true }
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module endpoint 'endpoint.bicep' = if (privateNetworking) {
  name: 'package-endpoint'
  params: {
    name: account.name
    location: location
    tags: tags
    subnetId: subnetId
    targetId: account.id
    groupId: 'blob'
    zoneId: zoneId
  }
}

output accountName string = account.name
output containerUrl string = '${account.properties.primaryEndpoints.blob}${package.name}'
output identityId string = identity.id
