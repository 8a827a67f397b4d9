// The four queues. The hub is idempotent on its own ids, so duplicate detection is off; what cannot be understood is
// logged rather than dead-lettered, so a dead letter means that the infrastructure was away ten deliveries long.
param name string
param location string
param tags object
param sku string
param principalId string
param workspaceId string
param privateNetworking bool
param subnetId string
param zoneId string

var queues = ['domain-events', 'webhook-deliveries', 'sync-jobs', 'alerts']
var roles = {
  sender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  receiver: '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
}

resource namespace 'Microsoft.ServiceBus/namespaces@2022-10-01-preview' = {
  name: name
  location: location
  tags: tags
  sku: sku == 'Premium' ? { name: 'Premium', tier: 'Premium', capacity: 1 } : { name: 'Standard', tier: 'Standard' }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

resource queue 'Microsoft.ServiceBus/namespaces/queues@2022-10-01-preview' = [for one in queues: {
  parent: namespace
  name: one
  properties: {
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    requiresDuplicateDetection: false
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P14D'
    maxSizeInMegabytes: 5120
  }
}]

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in items(roles): {
  name: guid(namespace.id, principalId, role.value)
  scope: namespace
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
  }
}]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: namespace
  properties: {
    workspaceId: workspaceId
    logs: [
      { categoryGroup: 'audit', enabled: true }
    ]
  }
}

module endpoint 'endpoint.bicep' = if (privateNetworking) {
  name: 'servicebus-endpoint'
  params: {
    name: name
    location: location
    tags: tags
    subnetId: subnetId
    targetId: namespace.id
    groupId: 'namespace'
    zoneId: zoneId
  }
}

output id string = namespace.id
output namespace string = '${namespace.name}.servicebus.windows.net'
