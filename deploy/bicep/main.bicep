// Everything the hub runs on, in one resource group. `azd up` deploys this file.
targetScope = 'subscription'

@description('Name of the environment; part of every resource name')
@minLength(2)
@maxLength(12)
param environmentName string

// Those with Flex Consumption, availability zones and a pair that backups of the database are copied to.
@description('Region of every resource')
@allowed([
  'australiaeast'
  'eastasia'
  'eastus'
  'eastus2'
  'northeurope'
  'southcentralus'
  'southeastasia'
  'swedencentral'
  'uksouth'
  'westeurope'
  'westus2'
])
@metadata({ azd: { type: 'location' } })
param location string

@description('prod keeps more, scales further and protects secrets from purging; chosen once for an environment')
@allowed(['dev', 'prod'])
param tier string = 'dev'

@description('Issuer of the tokens the API accepts, such as https://login.microsoftonline.com/<tenant>/v2.0')
param authIssuer string

@description('Audience the tokens must name')
param authAudience string = 'api://integration-hub'

@description('Tenant whose people may administer all tenants; empty: nobody')
param platformTenant string = ''

@description('Address under which clients reach the API, without /api; empty: the function app\'s own')
param publicUrl string = ''

@description('Entra group or user that administers the database')
param sqlAdministratorName string

@description('Object id of the same')
param sqlAdministratorObjectId string

@description('Where alerts are mailed; empty: nobody is mailed')
param alertEmail string = ''

@description('Public IPv4 address the deployment hook reaches the database from, without private networking; empty: from within Azure')
param deployerAddress string = ''

@description('No dependency has a public address, as always in prod; the app reaches them through private endpoints')
param privateNetworking bool = false

@description('The app survives the loss of an availability zone; two instances of every function stand ready, and cost')
param zoneRedundant bool = false

@description('A model at Azure OpenAI ranks and words recommendations')
param openAi bool = false

@description('The model, one that the region offers in its data zone')
param openAiModel string = 'gpt-5.4-mini'

@description('Version of the same')
param openAiModelVersion string = '2026-03-17'

@description('Addresses (CIDR, comma-separated) of the gateway before the app, which nobody else reaches then; empty: no such gateway')
param gatewayAddresses string = ''

@description('Id of the Front Door before the app, which nobody else reaches then; empty: none')
param frontDoorId string = ''

var isPrivate = tier == 'prod' || privateNetworking
var tags = { 'azd-env-name': environmentName, product: 'integration-hub' }
var token = take(uniqueString(subscription().id, environmentName, location), 6)

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-hub-${environmentName}'
  location: location
  tags: tags
}

module hub 'hub.bicep' = {
  name: 'hub'
  scope: group
  params: {
    name: 'hub-${environmentName}-${token}'
    shortName: toLower('hub${replace(environmentName, '-', '')}${token}')
    location: location
    tags: tags
    tier: tier
    authIssuer: authIssuer
    authAudience: authAudience
    platformTenant: platformTenant
    publicUrl: publicUrl
    sqlAdministratorName: sqlAdministratorName
    sqlAdministratorObjectId: sqlAdministratorObjectId
    alertEmail: alertEmail
    deployerAddress: deployerAddress
    privateNetworking: isPrivate
    gatewayAddresses: gatewayAddresses
    frontDoorId: frontDoorId
    zoneRedundant: zoneRedundant
    openAi: openAi
    openAiModel: openAiModel
    openAiModelVersion: openAiModelVersion
  }
}

module activity 'modules/activity.bicep' = {
  name: 'activity'
  params: { name: 'hub-${environmentName}', workspaceId: hub.outputs.workspaceId }
}

output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output HUB_URL string = hub.outputs.url
output HUB_FUNCTION_APP string = hub.outputs.functionAppName
output HUB_PYTHON_VERSION string = hub.outputs.pythonVersion
output HUB_IDENTITY_NAME string = hub.outputs.identityName
output HUB_IDENTITY_CLIENT_ID string = hub.outputs.identityClientId
output HUB_SQL_SERVER string = hub.outputs.sqlServer
output HUB_SQL_DATABASE string = hub.outputs.sqlDatabase
// What receivers of webhooks and providers may let through their firewalls; empty without private networking, where
// addresses are Azure's and change.
output HUB_OUTBOUND_ADDRESSES string = hub.outputs.outboundAddresses
