// Credentials, signing secrets' data keys. With purge protection a deleted credential stays recoverable for the
// retention period, to nobody but an administrator of the vault; without it the app purges what it deletes.
param name string
param location string
param tags object
param purgeProtection bool
param principalId string
param workspaceId string
param privateNetworking bool
param subnetId string
param zoneId string

// get, list, set, delete, recover and purge of secrets; neither keys nor certificates, nor the vault itself.
var secretsOfficer = 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: purgeProtection ? 90 : 7
    // null, not false: the service refuses to be told that it is off.
    enablePurgeProtection: purgeProtection ? true : null
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, secretsOfficer)
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsOfficer)
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      { categoryGroup: 'audit', enabled: true }
    ]
  }
}

module endpoint 'endpoint.bicep' = if (privateNetworking) {
  name: 'keyvault-endpoint'
  params: {
    name: name
    location: location
    tags: tags
    subnetId: subnetId
    targetId: vault.id
    groupId: 'vault'
    zoneId: zoneId
  }
}

output url string = vault.properties.vaultUri
