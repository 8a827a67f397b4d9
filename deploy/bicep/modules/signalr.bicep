// Realtime messages. Browsers connect to it, so it keeps its public address in a private deployment too.
param name string
param location string
param tags object
param sku string
param principalId string
param workspaceId string

var restApiOwner = 'fd53cd77-2268-407a-8f46-7e7863d0f521'

resource service 'Microsoft.SignalRService/signalR@2023-02-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: sku, capacity: 1 }
  kind: 'SignalR'
  properties: {
    disableLocalAuth: true
    features: [{ flag: 'ServiceMode', value: 'Serverless' }]
    cors: { allowedOrigins: ['*'] }
    tls: { clientCertEnabled: false }
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(service.id, principalId, restApiOwner)
  scope: service
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', restApiOwner)
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: service
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'AllLogs', enabled: true }
    ]
  }
}

output endpoint string = 'https://${service.properties.hostName}'
