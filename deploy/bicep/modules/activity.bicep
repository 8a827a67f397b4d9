// What is done to resources of the subscription, kept beside the logs: who announced a deployment, changed a role, or
// opened a firewall.
targetScope = 'subscription'

param name string
param workspaceId string

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: name
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'Administrative', enabled: true }
      { category: 'Policy', enabled: true }
      { category: 'Security', enabled: true }
    ]
  }
}
