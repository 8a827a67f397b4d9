// The hub's resources and how they fit together. Nothing here holds a key: every resource is entered with the
// app's managed identity, and local authentication is switched off wherever a resource has it.
param name string
param shortName string
param location string
param tags object
param tier string
param authIssuer string
param authAudience string
param platformTenant string
param publicUrl string
param sqlAdministratorName string
param sqlAdministratorObjectId string
param alertEmail string
param deployerAddress string
param privateNetworking bool
param zoneRedundant bool
param gatewayAddresses string
param frontDoorId string
param openAi bool
param openAiModel string
param openAiModelVersion string

var isProd = tier == 'prod'
var deploymentContainer = 'app-package'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-${name}'
  location: location
  tags: tags
}

module network 'modules/network.bicep' = if (privateNetworking) {
  name: 'network'
  params: { name: name, location: location, tags: tags, openAi: openAi }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: name
    location: location
    tags: tags
    retentionDays: isProd ? 90 : 30
    principalId: identity.properties.principalId
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    name: 'st${shortName}'
    location: location
    tags: tags
    sku: isProd ? 'Standard_ZRS' : 'Standard_LRS'
    workspaceId: monitoring.outputs.workspaceId
    principalId: identity.properties.principalId
    privateNetworking: privateNetworking
    subnetId: privateNetworking ? network!.outputs.endpointSubnetId : ''
    blobZoneId: privateNetworking ? network!.outputs.blobZoneId : ''
    queueZoneId: privateNetworking ? network!.outputs.queueZoneId : ''
    tableZoneId: privateNetworking ? network!.outputs.tableZoneId : ''
  }
}

module package 'modules/package.bicep' = {
  name: 'package'
  params: {
    name: 'pk${shortName}'
    location: location
    tags: tags
    sku: isProd ? 'Standard_ZRS' : 'Standard_LRS'
    identityName: 'id-deploy-${name}'
    container: deploymentContainer
    workspaceId: monitoring.outputs.workspaceId
    privateNetworking: privateNetworking
    subnetId: privateNetworking ? network!.outputs.endpointSubnetId : ''
    zoneId: privateNetworking ? network!.outputs.blobZoneId : ''
  }
}

module serviceBus 'modules/servicebus.bicep' = {
  name: 'servicebus'
  params: {
    name: 'sb-${name}'
    location: location
    tags: tags
    // Private endpoints exist for Premium alone.
    sku: privateNetworking ? 'Premium' : 'Standard'
    principalId: identity.properties.principalId
    workspaceId: monitoring.outputs.workspaceId
    privateNetworking: privateNetworking
    subnetId: privateNetworking ? network!.outputs.endpointSubnetId : ''
    zoneId: privateNetworking ? network!.outputs.serviceBusZoneId : ''
  }
}

module sql 'modules/sql.bicep' = {
  name: 'sql'
  params: {
    name: 'sql-${name}'
    location: location
    tags: tags
    sku: isProd ? 'S3' : 'S2'
    workspaceId: monitoring.outputs.workspaceId
    administratorName: sqlAdministratorName
    administratorObjectId: sqlAdministratorObjectId
    deployerAddress: deployerAddress
    privateNetworking: privateNetworking
    subnetId: privateNetworking ? network!.outputs.endpointSubnetId : ''
    zoneId: privateNetworking ? network!.outputs.sqlZoneId : ''
  }
}

module keyVault 'modules/keyvault.bicep' = {
  name: 'keyvault'
  params: {
    name: take('kv-${name}', 24)
    location: location
    tags: tags
    purgeProtection: isProd
    principalId: identity.properties.principalId
    workspaceId: monitoring.outputs.workspaceId
    privateNetworking: privateNetworking
    subnetId: privateNetworking ? network!.outputs.endpointSubnetId : ''
    zoneId: privateNetworking ? network!.outputs.vaultZoneId : ''
  }
}

module signalR 'modules/signalr.bicep' = {
  name: 'signalr'
  params: {
    name: 'sigr-${name}'
    location: location
    tags: tags
    sku: isProd ? 'Standard_S1' : 'Free_F1'
    principalId: identity.properties.principalId
    workspaceId: monitoring.outputs.workspaceId
  }
}

module model 'modules/openai.bicep' = if (openAi) {
  name: 'openai'
  params: {
    name: 'oai-${name}'
    location: location
    tags: tags
    modelName: openAiModel
    modelVersion: openAiModelVersion
    principalId: identity.properties.principalId
    workspaceId: monitoring.outputs.workspaceId
    privateNetworking: privateNetworking
    subnetId: privateNetworking ? network!.outputs.endpointSubnetId : ''
    zoneId: privateNetworking ? network!.outputs.openAiZoneId : ''
  }
}

module functions 'modules/functions.bicep' = {
  name: 'functions'
  params: {
    name: 'func-${name}'
    location: location
    tags: tags
    isProd: isProd
    zoneRedundant: zoneRedundant
    identityId: identity.id
    identityClientId: identity.properties.clientId
    storageName: storage.outputs.name
    packageUrl: package.outputs.containerUrl
    packageIdentityId: package.outputs.identityId
    applicationInsightsConnectionString: monitoring.outputs.connectionString
    serviceBusNamespace: serviceBus.outputs.namespace
    sqlServer: sql.outputs.server
    sqlDatabase: sql.outputs.database
    keyVaultUrl: keyVault.outputs.url
    signalREndpoint: signalR.outputs.endpoint
    tablesEndpoint: storage.outputs.tablesEndpoint
    auditCheckpointsUrl: storage.outputs.auditCheckpointsUrl
    openAiEndpoint: openAi ? model!.outputs.endpoint : ''
    openAiDeployment: openAi ? model!.outputs.deployment : ''
    authIssuer: authIssuer
    authAudience: authAudience
    platformTenant: platformTenant
    publicUrl: publicUrl
    subnetId: privateNetworking ? network!.outputs.appSubnetId : ''
    gatewayAddresses: gatewayAddresses
    frontDoorId: frontDoorId
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  params: {
    name: name
    location: location
    tags: tags
    applicationInsightsId: monitoring.outputs.applicationInsightsId
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    name: name
    location: location
    tags: tags
    email: alertEmail
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    serviceBusId: serviceBus.outputs.id
    sqlDatabaseId: sql.outputs.databaseId
    workspaceId: monitoring.outputs.workspaceId
    packageAccount: package.outputs.accountName
    appId: functions.outputs.id
  }
}

output url string = functions.outputs.url
output pythonVersion string = functions.outputs.pythonVersion
output functionAppName string = functions.outputs.name
output identityName string = identity.name
output identityClientId string = identity.properties.clientId
output sqlServer string = sql.outputs.server
output workspaceId string = monitoring.outputs.workspaceId
output outboundAddresses string = privateNetworking ? network!.outputs.outboundAddresses : ''
output sqlDatabase string = sql.outputs.database
