// Azure SQL, entered with Entra identities only. The app's database user is made by deploy/hooks/postprovision.sh: a
// contained user is data, which a template cannot make.
param name string
param location string
param tags object
param sku string
param administratorName string
param administratorObjectId string
param deployerAddress string
param privateNetworking bool
param subnetId string
param zoneId string

resource server 'Microsoft.Sql/servers@2023-08-01-preview' = {
  name: name
  location: location
  tags: tags
  properties: {
    minimalTlsVersion: '1.2'
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
    administrators: {
      administratorType: 'ActiveDirectory'
      azureADOnlyAuthentication: true
      login: administratorName
      sid: administratorObjectId
      tenantId: subscription().tenantId
    }
  }
}

resource database 'Microsoft.Sql/servers/databases@2023-08-01-preview' = {
  parent: server
  name: 'hub'
  location: location
  tags: tags
  sku: { name: sku, tier: 'Standard' }
  properties: {
    collation: 'SQL_Latin1_General_CP1_CI_AS'
    maxSizeBytes: 268435456000
    requestedBackupStorageRedundancy: 'Geo'
  }
}

resource azureServices 'Microsoft.Sql/servers/firewallRules@2023-08-01-preview' = if (!privateNetworking) {
  parent: server
  // This name and range stand for Azure's own addresses.
  name: 'AllowAllWindowsAzureIps'
  properties: { startIpAddress: '0.0.0.0', endIpAddress: '0.0.0.0' }
}

resource deployer 'Microsoft.Sql/servers/firewallRules@2023-08-01-preview' = if (!privateNetworking && !empty(deployerAddress)) {
  parent: server
  name: 'deployer'
  properties: { startIpAddress: deployerAddress, endIpAddress: deployerAddress }
}

module endpoint 'endpoint.bicep' = if (privateNetworking) {
  name: 'sql-endpoint'
  params: {
    name: name
    location: location
    tags: tags
    subnetId: subnetId
    targetId: server.id
    groupId: 'sqlServer'
    zoneId: zoneId
  }
}

output server string = server.properties.fullyQualifiedDomainName
output database string = database.name
output databaseId string = database.id
