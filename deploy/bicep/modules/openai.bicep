// The model that ranks and words recommendations. Made only where it is asked for; the hub does without.
param name string
param location string
param tags object
param modelName string
param modelVersion string
param principalId string
param workspaceId string
param privateNetworking bool
param subnetId string
param zoneId string

var openAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

resource account 'Microsoft.CognitiveServices/accounts@2024-10-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    // Entra identities enter by a name of its own only.
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

resource model 'Microsoft.CognitiveServices/accounts/deployments@2024-10-01' = {
  parent: account
  name: 'recommendations'
  // Processed within the region's data zone (EU or US). Capacity is in thousands of tokens a minute.
  sku: { name: 'DataZoneStandard', capacity: 50 }
  properties: {
    model: { format: 'OpenAI', name: modelName, version: modelVersion }
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, openAiUser)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', openAiUser)
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: account
  properties: {
    workspaceId: workspaceId
    logs: [
      { categoryGroup: 'audit', enabled: true }
    ]
  }
}

module endpoint 'endpoint.bicep' = if (privateNetworking) {
  name: 'openai-endpoint'
  params: {
    name: name
    location: location
    tags: tags
    subnetId: subnetId
    targetId: account.id
    groupId: 'account'
    zoneId: zoneId
  }
  // The account takes one change at a time.
  dependsOn: [model]
}

output endpoint string = account.properties.endpoint
output deployment string = model.name
