// The function app on Flex Consumption. There HTTP functions scale together, durable ones together, and every other
// function by itself: deliveries, fan-out and sync jobs grow apart (16.3).
param name string
param location string
param tags object
param isProd bool
param zoneRedundant bool
param identityId string
param identityClientId string
param storageName string
param packageUrl string
param packageIdentityId string
param applicationInsightsConnectionString string
param serviceBusNamespace string
param sqlServer string
param sqlDatabase string
param keyVaultUrl string
param signalREndpoint string
param tablesEndpoint string
param auditCheckpointsUrl string
param openAiEndpoint string
param openAiDeployment string
param authIssuer string
param authAudience string
param platformTenant string
param publicUrl string
param subnetId string
param gatewayAddresses string
param frontDoorId string

// Behind a gateway nobody else reaches the app, so that what the gateway says of a caller can be believed, and nobody
// goes around its rules. Deployments keep their own door, which Entra guards.
var isGated = !empty(gatewayAddresses) || !empty(frontDoorId)
var gateways = empty(gatewayAddresses) ? [] : split(gatewayAddresses, ',')
var throughGateways = [for (one, index) in gateways: {
  name: 'gateway-${index}'
  action: 'Allow'
  priority: 200 + index
  ipAddress: one
}]
var throughFrontDoor = empty(frontDoorId) ? [] : [
  {
    name: 'front-door'
    action: 'Allow'
    priority: 100
    tag: 'ServiceTag'
    ipAddress: 'AzureFrontDoor.Backend'
    // The tag stands for every Front Door, anybody's; the id is ours.
    headers: { 'x-azure-fdid': [frontDoorId] }
  }
]
var pythonVersion = '3.12'
var hostName = '${name}.azurewebsites.net'
var settings = {
  AzureWebJobsStorage__accountName: storageName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  // A trace that begins here is kept or not as a whole, by its id; one that a caller began, as the caller did.
  OTEL_TRACES_SAMPLER: 'parentbased_traceidratio'
  OTEL_TRACES_SAMPLER_ARG: isProd ? '0.1' : '1.0'
  ServiceBusConnection__fullyQualifiedNamespace: serviceBusNamespace
  ServiceBusConnection__credential: 'managedidentity'
  ServiceBusConnection__clientId: identityClientId
  // The host holds a body before the app sees it; the app's own limits are lower and explain themselves.
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '16777216'
  HUB_ENVIRONMENT: 'production'
  HUB_MANAGED_IDENTITY_CLIENT_ID: identityClientId
  HUB_SQL_CONNECTION: 'Server=tcp:${sqlServer},1433;Database=${sqlDatabase};Encrypt=yes;TrustServerCertificate=no;Connection Timeout=30;'
  HUB_SQL_POOL_SIZE: isProd ? '4' : '2'
  HUB_TABLES_ENDPOINT: tablesEndpoint
  HUB_AUDIT_CHECKPOINTS_URL: auditCheckpointsUrl
  HUB_KEY_VAULT_URL: keyVaultUrl
  HUB_SIGNALR_ENDPOINT: signalREndpoint
  HUB_AUTH_ISSUER: authIssuer
  HUB_AUTH_AUDIENCE: authAudience
  HUB_TRUSTED_PROXY_HOPS: isGated ? '2' : '1'
  HUB_PUBLIC_URL: empty(publicUrl) ? 'https://${hostName}' : publicUrl
}
var platformSettings = empty(platformTenant) ? {} : { HUB_PLATFORM_TENANT: platformTenant }
var modelSettings = empty(openAiEndpoint) ? {} : {
  HUB_OPENAI_ENDPOINT: openAiEndpoint
  HUB_OPENAI_DEPLOYMENT: openAiDeployment
  HUB_OPENAI_REASONING_EFFORT: 'none'
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: { reserved: true, zoneRedundant: zoneRedundant }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {}, '${packageIdentityId}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
      ipSecurityRestrictionsDefaultAction: isGated ? 'Deny' : 'Allow'
      ipSecurityRestrictions: concat(throughFrontDoor, throughGateways)
      scmIpSecurityRestrictionsUseMain: false
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: packageIdentityId }
        }
      }
      runtime: { name: 'python', version: pythonVersion }
      scaleAndConcurrency: {
        // Of each scaling group. With HUB_SQL_POOL_SIZE it is bounded by the sessions of the database (docs/sql.md): whoever
        // raises it buys a larger one or shrinks the pool.
        maximumInstanceCount: 40
        instanceMemoryMB: 2048
        alwaysReady: isProd ? [
          { name: 'http', instanceCount: 2 }
          // A zone-redundant plan refuses fewer than two.
          { name: 'durable', instanceCount: zoneRedundant ? 2 : 1 }
          { name: 'function:fan_out_events', instanceCount: zoneRedundant ? 2 : 1 }
          { name: 'function:deliver_webhooks', instanceCount: 2 }
          // Synchronisation is not hurried: a job may wait for an instance of dispatch_sync_jobs to start, and its
          // batches run in the group `durable`.
        ] : []
        triggers: { http: { perInstanceConcurrency: 100 } }
      }
    }
  }

  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(settings, modelSettings, platformSettings)
  }
}

// What deploys comes with a token of Entra ID; the app's publishing password is good for nothing.
resource publishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = [for one in ['ftp', 'scm']: {
  parent: app
  name: one
  properties: { allow: false }
}]

output pythonVersion string = pythonVersion
output id string = app.id
output name string = app.name
output url string = 'https://${app.properties.defaultHostName}'
