// Azure SQL, entered with Entra identities only. The app's database user is made by deploy/hooks/postprovision.sh: a
// contained user is data, which a template cannot make.
param name string
param location string
param tags object
param sku string
param administratorName string
param administratorObjectId string
param deployerAddress string
param workspaceId string
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

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: database
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'Errors', enabled: true }
      { category: 'Timeouts', enabled: true }
      { category: 'Blocks', enabled: true }
      { category: 'Deadlocks', enabled: true }
    ]
  }
}

// Who entered, was refused, or changed who may do what, or the schema. Statements are left out (BATCH_COMPLETED_GROUP):
// each of the app's would be a row, its text included, and what the app changes is in the audit log that it signs.
resource auditing 'Microsoft.Sql/servers/auditingSettings@2023-08-01-preview' = {
  parent: server
  name: 'default'
  properties: {
    state: 'Enabled'
    isAzureMonitorTargetEnabled: true
    isDevopsAuditEnabled: true
    auditActionsAndGroups: [
      'SUCCESSFUL_DATABASE_AUTHENTICATION_GROUP'
      'FAILED_DATABASE_AUTHENTICATION_GROUP'
      'DATABASE_PRINCIPAL_CHANGE_GROUP'
      'DATABASE_ROLE_MEMBER_CHANGE_GROUP'
      'DATABASE_PERMISSION_CHANGE_GROUP'
      'DATABASE_OBJECT_PERMISSION_CHANGE_GROUP'
      'DATABASE_OBJECT_CHANGE_GROUP'
      'SCHEMA_OBJECT_CHANGE_GROUP'
    ]
  }
}

// A server's audit comes out of its master database.
resource master 'Microsoft.Sql/servers/databases@2023-08-01-preview' existing = {
  parent: server
  name: 'master'
}

resource audited 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: master
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'SQLSecurityAuditEvents', enabled: true }
      { category: 'DevOpsOperationsAudit', enabled: true }
    ]
  }
  dependsOn: [auditing, database]
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
